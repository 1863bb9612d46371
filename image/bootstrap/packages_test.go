package bootstrap

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/hooks"
	"vmbuild/rootfs"
)

// TestMarks has which of five packages are marked as automatically installed.
func TestMarks(t *testing.T) {
	include := []string{"?priority(required)", "a:armhf/sid", "b=1.2", "libc++1"}
	for marks, want := range map[Marks][]string{
		MarkByApt:   {"a", "auto"},
		MarkNone:    nil,
		MarkUnnamed: {"auto", "required"},
	} {
		p := &Plan{Spec: rootfs.Spec{Include: include}, Marks: marks}
		lock := &rootfs.Lock{}
		for _, name := range []string{"a", "auto", "b", "libc++1", "required"} {
			lock.Packages = append(lock.Packages, rootfs.Package{Name: name, Auto: name == "a" || name == "auto"})
		}
		p.mark(lock)
		var got []string
		for _, l := range lock.Packages {
			if l.Auto {
				got = append(got, l.Name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q:\n%s", marks, diff)
		}
	}
}

// TestPlanOfPackages has what options about packages and their archives become.
func TestPlanOfPackages(t *testing.T) {
	hook := []hooks.Hook{{Stage: hooks.Customize, Command: "true"}}
	plain := func() Options {
		return Options{Suite: "bookworm", Architectures: []string{"amd64"}, Mirrors: []Mirror{{Argument: "http://m"},
			{Argument: "deb http://m bookworm-updates main"}}}
	}
	for name, c := range map[string]struct {
		change func(*Options)
		want   func(*Plan)
	}{
		"foreign": {func(o *Options) { o.Foreign, o.Hooks = true, hook }, func(p *Plan) {
			p.SecondStage, p.Spec.UnpackOnly, p.Hooks = true, true, hook
			p.Notes = []string{"hooks of stages essential and customize are not run: nothing is configured"}
		}},
		"unpack only": {func(o *Options) { o.UnpackOnly = true }, func(p *Plan) { p.Spec.UnpackOnly = true }},
		"download only": {func(o *Options) { o.DownloadOnly, o.Hooks = true, hook }, func(p *Plan) {
			p.DownloadOnly, p.Hooks, p.Notes = true, hook, []string{"hooks are not run: only packages are wanted"}
		}},
		"tarballs": {func(o *Options) { o.MakeTarball, o.UnpackTarball, o.Include = "t", "/u", []string{"a"} }, func(p *Plan) {
			p.Tarball, p.From, p.Include, p.Spec.Include = "t", "/u", []string{"a"}, []string{"a"}
			p.Notes = []string{"the tarball says which packages are installed: --include and --exclude have no part in it"}
		}},
		"keep, marks, release": {func(o *Options) { o.KeepPackages, o.Marks, o.Release = "/k", MarkNone, "r" }, func(p *Plan) {
			p.Keep, p.Marks, p.Spec.DefaultRelease = "/k", MarkNone, "r"
		}},
		"InRelease and TLS": {func(o *Options) { o.InRelease, o.TLS = "../x", rootfs.TLS{CA: "/ca", NoCheck: true} }, func(p *Plan) {
			p.Spec.Archives[0].InRelease, p.Spec.TLS = "../x", rootfs.TLS{CA: "/ca", NoCheck: true}
		}},
		"split /usr": {func(o *Options) { o.NoMergedUsr = true }, func(p *Plan) {
			p.Spec.SplitUsr, p.Spec.Files = true, append(p.Spec.Files, splitUsrFile)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := NewPlan(plain())
			if err != nil {
				t.Fatal(err)
			}
			c.want(want)
			o := plain()
			c.change(&o)
			got, err := NewPlan(o)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
	for suite, want := range map[string]bool{"bullseye": false, "oldoldstable": false, "bookworm": true, "trixie": true, "sid": true} {
		if got := needsSplitUsrFile(suite); got != want {
			t.Errorf("%s: %v", suite, got)
		}
	}
}
