package main

import (
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/archivetest"
)

// TestDebootstrapPrintDebs has the packages of debootstrap's variants and options, for a small archive.
func TestDebootstrapPrintDebs(t *testing.T) {
	b := newBench(t)
	site, err := archivetest.New(archivetest.Archive{Packages: []archivetest.Package{
		{Name: "base", Essential: true, Priority: "required"}, {Name: "req", Priority: "required"},
		{Name: "imp", Priority: "important", Depends: "mta"},
		versioned("apt", "1", ""), versioned("build-essential", "1", ""), versioned("ca-certificates", "1", ""),
		versioned("a", "1", "none | b"),
		versioned("b", "2", ""), versioned("b", "1", ""), {Name: "exim", Provides: "mta"}, {Name: "postfix", Provides: "mta"},
		{Name: "c", Component: "contrib"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.serveSite(t, "URL", site)
	if err := site.WriteTo(filepath.Join(b.dir, "mirror")); err != nil {
		t.Fatal(err)
	}
	resolved := "resolve N s\n"
	for _, c := range []struct {
		name   string
		args   []string
		mirror string
		want   ran
	}{
		{name: "default", want: ran{Out: "base apt req postfix imp\n", Err: resolved}},
		{name: "minbase", args: []string{"--variant=minbase"}, want: ran{Out: "base apt req\n", Err: resolved}},
		{name: "buildd", args: []string{"--variant=buildd"}, want: ran{Out: "base apt build-essential\n", Err: resolved}},
		{name: "fakechroot", args: []string{"--variant=fakechroot"},
			want: ran{Out: "base apt req postfix imp\n", Err: "vmbuild: note: --variant=fakechroot: no root is needed anyway\n" + resolved}},
		{name: "second alternative and newest version", args: []string{"--variant=minbase", "--include=a"},
			want: ran{Out: "base b a apt req\n", Err: resolved}},
		{name: "exclude", args: []string{"--exclude=imp"}, want: ran{Out: "base apt req\n", Err: resolved}},
		{name: "components", args: []string{"--variant=minbase", "--components=main,contrib", "--include=c"},
			want: ran{Out: "base c apt req\n", Err: resolved}},
		{name: "one slash", args: []string{"--variant=minbase"}, mirror: "file:$DIR/mirror",
			want: ran{Out: "base apt req\n", Err: resolved}},
		{name: "unknown package", args: []string{"--include=x"},
			want: ran{1, "", resolved + "vmbuild: resolve packages: there is no package \"x\"; the nearest names are a, b\n"}},
		{name: "unknown variant", args: []string{"--variant=scratchbox"},
			want: ran{2, "", "vmbuild: --variant=scratchbox is not one of minbase, buildd, fakechroot\n" + "vmbuild: vmbuild debootstrap --help lists all options\n"}},
		{name: "several things at once", args: []string{"--foreign", "--download-only"},
			want: ran{2, "", "vmbuild: --foreign, --print-debs, --download-only exclude each other\n" + "vmbuild: vmbuild debootstrap --help lists all options\n"}},
		{name: "no address", mirror: "mirror", want: ran{2, "", "vmbuild: mirror \"mirror\" is not a URL\n" + "vmbuild: vmbuild debootstrap --help lists all options\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"debootstrap", "--print-debs", "--arch=amd64", "--keyring=$URLKEY"}, c.args...)
			got := b.do(t, request{args: append(args, "trixie", "target", or(c.mirror, "$URL"))})
			got.Err = seconds.ReplaceAllString(got.Err, " N s")
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// seconds are how long a stage has taken.
var seconds = regexp.MustCompile(` +\d+\.\d s`)
