package main

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/archivetest"
)

// aptFiles are those that MIRROR arguments become.
var aptFiles = []string{"etc/apt/sources.list", "etc/apt/sources.list.d/*"}

// unpack is a command line that leaves package a unpacked in a tar on standard output, but for what args say.
func unpack(args ...string) []string {
	return append([]string{"bootstrap", "-q", "--variant=extract", "--include=a", "--architectures=amd64"}, args...)
}

// TestBootstrapSources has each form of MIRROR and the files of apt that they become.
func TestBootstrapSources(t *testing.T) {
	b := newBench(t)
	archive := archivetest.Archive{Packages: []archivetest.Package{versioned("a", "1", ""), {Name: "b", Component: "contrib"}}}
	server := b.serve(t, "URL", archive)
	if err := server.Site().WriteTo(filepath.Join(b.dir, "my mirror")); err != nil {
		t.Fatal(err)
	}
	if err := server.Site().WriteTo(filepath.Join(b.dir, "mirror")); err != nil {
		t.Fatal(err)
	}
	const stanza = "Types: deb\nURIs: $URL\nSuites: trixie\nComponents: main\n"
	b.write(t, map[string]string{
		"lines.list":      "# ours\ndeb $URL trixie main\n",
		"fields.sources":  stanza,
		"lines":           "\n# ours\ndeb $URL trixie main\n",
		"fields":          "# ours\n" + stanza,
		"with blanks.txt": "deb $URL trixie main\n",
	})
	for _, c := range []struct {
		name  string
		args  []string // from SUITE on
		stdin string
		want  ran
	}{
		{name: "address", args: []string{"trixie", "-", "$URL"}, want: ran{Out: `sources.list "deb $URL trixie main\n"`}},
		{name: "address and components", args: []string{"trixie", "-", "$URL", "--components=contrib,main", "--components=main"},
			want: ran{Out: `sources.list "deb $URL trixie contrib main\n"`}},
		{name: "address of another suite's name", args: []string{"stable", "-", "$URL"}, want: ran{Status: 1}},
		{name: "line", args: []string{"trixie", "-", "deb [arch=amd64] $URL trixie main"},
			want: ran{Out: `sources.list "deb [arch=amd64] $URL trixie main\n"`}},
		{name: "line of sources only", args: []string{"trixie", "-", "deb-src $URL trixie main", "$URL"},
			want: ran{Out: `sources.list "deb-src $URL trixie main\ndeb $URL trixie main\n"`}},
		{name: "file of lines", args: []string{"trixie", "-", "lines.list"},
			want: ran{Out: `sources.list.d/0000lines.list "# ours\ndeb $URL trixie main\n"`}},
		{name: "file of fields", args: []string{"trixie", "-", "$DIR/fields.sources"}, want: ran{Out: "x"}},
		{name: "file of lines without a suffix", args: []string{"trixie", "-", "lines"},
			want: ran{Out: `sources.list.d/0000lines.list "\n# ours\ndeb $URL trixie main\n"`}},
		{name: "file of fields without a suffix", args: []string{"trixie", "-", "fields"}, want: ran{Out: "x"}},
		{name: "file with a name that apt would not read", args: []string{"trixie", "-", "with blanks.txt"}, want: ran{Out: "x"}},
		{name: "lines on standard input", args: []string{"trixie", "-", "-"}, stdin: "deb $URL trixie main\n",
			want: ran{Out: `sources.list "deb $URL trixie main\n"`}},
		{name: "fields on standard input", args: []string{"trixie", "-", "-"}, stdin: stanza, want: ran{Out: "x"}},
		{name: "no suite", stdin: "deb $URL trixie main\n", want: ran{Out: `sources.list "deb $URL trixie main\n"`}},
		{name: "nothing at all", want: ran{Status: 2}},
		{name: "empty argument", args: []string{"trixie", "-", "", "$URL"}, want: ran{Out: `sources.list "deb $URL trixie main\n"`}},
		{name: "address and line", args: []string{"trixie", "-", "$URL", "deb $URL trixie contrib"},
			want: ran{Out: "x"}},
		{name: "several forms", args: []string{"trixie", "-", "$URL", "fields.sources", "deb $URL trixie contrib", "-", "lines.list"},
			stdin: stanza, want: ran{Out: "x"}},
		{name: "neither", args: []string{"trixie", "-", "none"}, want: ran{Status: 2}},
		{name: "address without suite", args: []string{"", "-", "$URL"}, want: ran{Status: 2}},
		{name: "broken line", args: []string{"trixie", "-", "deb $URL"}, want: ran{Status: 2}},
		{name: "mirror in a directory", args: []string{"trixie", "-", "file://$DIR/mirror"},
			want: ran{Out: `sources.list "deb file://$DIR/mirror trixie main\n"`}},
		{name: "mirror that is copied", args: []string{"trixie", "-", "copy:$DIR/mirror"},
			want: ran{Out: `sources.list "deb copy:$DIR/mirror trixie main\n"`}},
		{name: "mirror in a directory with a blank", args: []string{"trixie", "-", "file://$DIR/my%20mirror"}, want: ran{Out: "x"}},
		{name: "address that nobody speaks", args: []string{"trixie", "-", "gopher://x"}, want: ran{Status: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append(unpack("--keyring=$URLKEY"), c.args...)
			got := b.do(t, request{args: args, stdin: c.stdin, see: aptFiles})
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBootstrapTrust has archives that are not what they should be.
func TestBootstrapTrust(t *testing.T) {
	b := newBench(t)
	past, future := time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)
	const release, index, pool = "dists/trixie/InRelease", "dists/trixie/main/binary-amd64/Packages.xz", "pool/main/a/a/a_1_amd64.deb"
	type archive = archivetest.Archive
	for _, c := range []struct {
		name    string
		archive archive
		edit    func(*archivetest.Site)
		faults  archivetest.Faults
		args    []string
		mirror  string
		want    ran
	}{
		{name: "expired", archive: archive{Date: past.Add(-time.Hour), ValidUntil: past}},
		{name: "expired, accepted", archive: archive{Date: past.Add(-time.Hour), ValidUntil: past}, args: []string{"--no-check-valid-until"}},
		{name: "expired, accepted by the source", archive: archive{Date: past.Add(-time.Hour), ValidUntil: past},
			mirror: "deb [check-valid-until=no] $URL trixie main"},
		{name: "expired, accepted by apt's options", archive: archive{Date: past.Add(-time.Hour), ValidUntil: past},
			args: []string{`--aptopt=Acquire::Check-Valid-Until "false"`}},
		{name: "future", archive: archive{Date: future}},
		{name: "unsigned", archive: archive{Unsigned: true}},
		{name: "unsigned, accepted", archive: archive{Unsigned: true}, args: []string{"--no-check-signatures"}},
		{name: "unsigned, trusted", archive: archive{Unsigned: true}, mirror: "deb [trusted=yes] $URL trixie main"},
		{name: "detached signature", archive: archive{NoInRelease: true}},
		{name: "Release tampered with", edit: func(s *archivetest.Site) { s.Edit(release, archivetest.Flip(100)) }},
		{name: "index tampered with", edit: func(s *archivetest.Site) {
			s.Edit(index, archivetest.Flip(-1))
			s.Edit("dists/trixie/main/binary-amd64/Packages", archivetest.Flip(-1))
			s.Edit("dists/trixie/main/binary-amd64/Packages.gz", archivetest.Flip(-1))
		}},
		{name: "package tampered with", edit: func(s *archivetest.Site) { s.Edit(pool, archivetest.Flip(-1)) }},
		{name: "package too short", edit: func(s *archivetest.Site) { s.Edit(pool, archivetest.Truncate(100)) }},
		{name: "package missing", edit: func(s *archivetest.Site) { delete(s.Files, pool) }},
		{name: "Release not available at first", faults: archivetest.Faults{Status: map[string][]int{release: {503}}}},
		{name: "package not available at first", faults: archivetest.Faults{Status: map[string][]int{pool: {503}}}},
		{name: "package breaks off at first", faults: archivetest.Faults{Cut: map[string][]int{pool: {100}}}},
		{name: "key that is not given", args: []string{"--keyring=other.gpg"}},
		{name: "keyring that is not there", args: []string{"--keyring=none.gpg"}},
		{name: "no keyring", args: []string{"--keyring=nokey"}},
		{name: "directory of keyrings", args: []string{"--keyring=other.gpg", "--keyring=keys"}},
		{name: "signed-by", args: []string{"--keyring=other.gpg"}, mirror: "deb [signed-by=$URLKEY] $URL trixie main"},
		{name: "signed-by of another", mirror: "deb [signed-by=$DIR/other.gpg] $URL trixie main"},
		{name: "other suite under this name", edit: func(s *archivetest.Site) {
			s.Edit(release, func([]byte) []byte { return bytes.Clone(s.Files["dists/old/InRelease"]) })
		}, archive: archive{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.archive.Packages = []archivetest.Package{versioned("a", "1", "")}
			site, err := archivetest.New(c.archive)
			if err != nil {
				t.Fatal(err)
			}
			if c.edit != nil {
				c.edit(site)
			}
			other, err := archivetest.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			b.serveSite(t, "URL", site).Break(c.faults)
			b.write(t, map[string]string{"other.gpg": string(other.Public()), "keys/a.gpg": string(site.Keyring()), "nokey": "no key"})
			args := append(unpack("--keyring=$URLKEY"), c.args...)
			got := b.do(t, request{args: append(args, "trixie", "-", or(c.mirror, "$URL")), see: []string{"opt/*"}})
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
