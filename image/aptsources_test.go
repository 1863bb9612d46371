package image

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs"
	"vmbuild/rootfs/suite"
	"vmbuild/rootfs/system"
)

func TestAptSources(t *testing.T) {
	const main, security, own = "http://ann:pw@m.example/debian", "http://s.example/debian-security", "http://own.example/debian"
	list := []rootfs.Source{
		{URI: main, Suite: "x", Components: []string{"main"}, SignedBy: "/k"},
		{URI: main, Suite: "x-updates", Components: []string{"main"}, SignedBy: "/k"},
		{URI: security, Suite: "x-security", Components: []string{"main"}, SignedBy: "/k"},
	}
	for name, c := range map[string]struct {
		mirror string
		frozen bool
		uri    string
	}{
		"as the build": {"", false, main}, "another mirror": {own + "/", false, own}, "archived": {"", true, main},
	} {
		want := []system.Source{
			{URI: c.uri, Suites: []string{"x", "x-updates"}, Components: []string{"main"}, SignedBy: "/k", Frozen: c.frozen},
			{URI: security, Suites: []string{"x-security"}, Components: []string{"main"}, SignedBy: "/k", Frozen: c.frozen},
		}
		if diff := cmp.Diff(want, aptSources(list, c.mirror, suite.Suite{Archived: c.frozen})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestPasswordNotes(t *testing.T) {
	p, err := NewPlan(amd64(func(o *Options) {
		o.Mirror, o.Security = "http://ann:secret@m.example:81/debian", "http://s.example/debian-security"
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"--mirror: the name and password in the URL stay out of the image: apt there needs them from /etc/apt/auth.conf.d " +
		"(machine http://m.example:81)"}
	if diff := cmp.Diff(want, p.Notes); diff != "" {
		t.Error(diff)
	}
}
