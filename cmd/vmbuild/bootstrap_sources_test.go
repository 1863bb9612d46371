package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
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
	archive := archivetest.Archive{Suite: "stable", Codename: "trixie", Packages: []archivetest.Package{versioned("a",
		"1", ""), {Name: "b", Component: "contrib"}}}
	site, err := archivetest.New(archive)
	if err != nil {
		t.Fatal(err)
	}
	flatten(t, site)
	b.serveSite(t, "URL", site)
	for _, dir := range []string{"mirror", "my mirror"} {
		if err := site.WriteTo(filepath.Join(b.dir, dir)); err != nil {
			t.Fatal(err)
		}
	}
	hint := hints[2]
	const fields = `Types: deb\nURIs: $URL\nSuites: trixie\nComponents: main\n` // as listing has it
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
		want  []string // files below /etc/apt
		err   string   // why there are none
	}{
		{name: "address", args: []string{"trixie", "-", "$URL"}, want: []string{`sources.list "deb $URL trixie main\n"`}},
		{name: "address and components", args: []string{"trixie", "-", "$URL", "--components=contrib,main",
			"--components=main"},
			want: []string{`sources.list "deb $URL trixie contrib main\n"`}},
		{name: "line", args: []string{"trixie", "-", "deb [arch=amd64] $URL trixie main"},
			want: []string{`sources.list "deb [arch=amd64] $URL trixie main\n"`}},
		{name: "line of sources", args: []string{"trixie", "-", "deb-src $URL trixie main", "$URL"},
			want: []string{`sources.list "deb-src $URL trixie main\n\ndeb $URL trixie main\n"`}},
		{name: "lines of several suites", args: []string{"", "-", "deb $URL trixie main", "deb $URL stable main"},
			want: []string{`sources.list "deb $URL trixie main\n\ndeb $URL stable main\n"`}},
		{name: "file of lines", args: []string{"trixie", "-", "lines.list"},
			want: []string{`sources.list.d/0000lines.list "# ours\ndeb $URL trixie main\n"`}},
		{name: "file of fields", args: []string{"trixie", "-", "$DIR/fields.sources"},
			want: []string{`sources.list.d/0000fields.sources "` + fields + `"`}},
		{name: "file of lines without a suffix", args: []string{"trixie", "-", "lines"},
			want: []string{`sources.list.d/0000lines.list "\n# ours\ndeb $URL trixie main\n"`}},
		{name: "file of fields without a suffix", args: []string{"trixie", "-", "fields"},
			want: []string{`sources.list.d/0000fields.sources "# ours\n` + fields + `"`}},
		{name: "file with a name that apt would not read", args: []string{"trixie", "-", "with blanks.txt"},
			want: []string{`sources.list.d/0000with_blanks.txt.list "deb $URL trixie main\n"`}},
		{name: "lines on standard input", args: []string{"trixie", "-", "-"}, stdin: "deb $URL trixie main\n",
			want: []string{`sources.list "deb $URL trixie main\n"`}},
		{name: "fields on standard input", args: []string{"trixie", "-", "-"}, stdin: stanza,
			want: []string{`sources.list.d/0000main.sources "` + fields + `"`}},
		{name: "no suite", stdin: "deb $URL trixie main\n", want: []string{`sources.list "deb $URL trixie main\n"`}},
		{name: "empty argument", args: []string{"trixie", "-", "", "$URL"},
			want: []string{`sources.list "deb $URL trixie main\n"`}},
		{name: "address and line", args: []string{"trixie", "-", "$URL", "deb $URL trixie contrib"},
			want: []string{`sources.list "deb $URL trixie main\n\ndeb $URL trixie contrib\n"`}},
		{name: "several forms", args: []string{"trixie", "-", "$URL", "fields.sources", "deb $URL trixie contrib", "-",
			"lines.list"},
			stdin: stanza, want: []string{
				`sources.list "deb $URL trixie main\n"`,
				`sources.list.d/0001fields.sources "` + fields + `"`,
				`sources.list.d/0002main.list "deb $URL trixie contrib\n"`,
				`sources.list.d/0003main.sources "` + fields + `"`,
				`sources.list.d/0004lines.list "# ours\ndeb $URL trixie main\n"`,
			}},
		{name: "mirror in a directory", args: []string{"trixie", "-", "file://$DIR/mirror"},
			want: []string{`sources.list "deb file://$DIR/mirror trixie main\n"`}},
		{name: "mirror in a directory, with one slash", args: []string{"trixie", "-", "file:$DIR/mirror"},
			want: []string{`sources.list "deb file:$DIR/mirror trixie main\n"`}},
		{name: "mirror that is copied", args: []string{"trixie", "-", "copy:$DIR/mirror"},
			want: []string{`sources.list "deb copy:$DIR/mirror trixie main\n"`}},
		{name: "mirror in a directory with a blank", args: []string{"trixie", "-", "file://$DIR/my%20mirror"},
			want: []string{`sources.list "deb file://$DIR/my%20mirror trixie main\n"`}},
		{name: "flat archive", args: []string{"trixie", "-", "deb $URL flat/"},
			want: []string{`sources.list "deb $URL flat/\n"`}},
		{name: "flat archive as address", args: []string{"./", "-", "file://$DIR/mirror/flat"},
			want: []string{`sources.list "deb file://$DIR/mirror/flat ./\n"`}},

		{name: "nothing at all", err: "vmbuild: the MIRROR arguments hold no apt source\n" + hint},
		{name: "neither", args: []string{"trixie", "-", "none"},
			err: "vmbuild: MIRROR \"none\" is no address (scheme://…), " +
				"no line of apt sources (deb …) and no file with any\n" + hint},
		{name: "address without suite", args: []string{"", "-", "$URL"},
			err: "vmbuild: MIRROR $URL is an address, and there is no SUITE to look for in it\n" + hint},
		{name: "broken line", args: []string{"trixie", "-", "deb $URL"},
			err: "vmbuild: read apt sources \"deb $URL\": line 1: it has no suite\n" + hint},
		{name: "suite that the mirror has not", args: []string{"sid", "-", "$URL"},
			err: "vmbuild: archive $URL has no suite \"sid\": neither InRelease nor Release is there\n"},
		{name: "component that the suite has not", args: []string{"trixie", "-", "$URL", "--components=main,games"},
			err: "vmbuild: $URL trixie has no component \"games\" (it has contrib main)\n"},
		{name: "address that nobody speaks", args: []string{"trixie", "-", "gopher://x"},
			err: "vmbuild: archive \"gopher://x\" is none of http, https, file, copy\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := b.do(t, request{args: append(unpack("--keyring=$URLKEY"), c.args...), stdin: c.stdin, see: aptFiles})
			want := ran{Err: c.err}
			for _, file := range c.want {
				want.Out += "-rw-r--r-- 0:0 etc/apt/" + file + "\n"
			}
			switch {
			case strings.HasSuffix(c.err, hint):
				want.Status = 2
			case c.err != "":
				want.Status = 1
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// flatten adds a flat archive, which has its packages and its index in one directory, with package a.
func flatten(t *testing.T, site *archivetest.Site) {
	t.Helper()
	index := site.Files["dists/trixie/main/binary-amd64/Packages"]
	pool := site.Path(t, "a")
	site.Files["flat/a.deb"] = site.Files[pool]
	index = bytes.ReplaceAll(index, []byte("Filename: "+pool), []byte("Filename: ./a.deb"))
	site.Files["flat/Packages"] = index
	release := fmt.Sprintf("Date: %s\nSHA256:\n %x %d Packages\n", site.Date.Format(time.RFC1123), sha256.Sum256(index), len(index))
	if err := site.Sign("flat", []byte(release)); err != nil {
		t.Fatal(err)
	}
}

// TestBootstrapTrust has archives that are not what they should be.
func TestBootstrapTrust(t *testing.T) {
	b := newBench(t)
	past, future := time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)
	const release, index, pool = "dists/trixie/InRelease", "dists/trixie/main/binary-amd64/Packages",
		"pool/main/a/a/a_1_amd64.deb"
	type archive = archivetest.Archive
	const expired = "vmbuild: InRelease of $URL trixie was valid until $PAST: the mirror is behind; use another, or " +
		"--no-check-valid-until to accept it\n"
	b.words["PAST"] = past.UTC().Truncate(time.Second).Format(time.RFC1123)
	b.words["FUTURE"] = future.UTC().Truncate(time.Second).Format(time.RFC1123)
	old := archive{Date: past.Add(-time.Hour), ValidUntil: past}
	for _, c := range []struct {
		name    string
		archive archive
		edit    func(*archivetest.Site)
		faults  archivetest.Faults
		args    []string
		mirror  string
		status  int
		err     string // why package a is not there
	}{
		{name: "expired", archive: old, status: 4, err: expired},
		{name: "expired, accepted", archive: old, args: []string{"--no-check-valid-until"}},
		{name: "expired, accepted by the source", archive: old, mirror: "deb [check-valid-until=no] $URL trixie main"},
		{name: "expired, accepted by apt's options", archive: old,
			args: []string{`--aptopt=Acquire::Check-Valid-Until "false"`}},
		{name: "future", archive: archive{Date: future}, status: 4,
			err: "vmbuild: InRelease of $URL trixie is dated $FUTURE, which is in the future: " +
				"this machine's clock says NOW\n"},
		{name: "unsigned", archive: archive{Unsigned: true}, status: 4,
			err: "vmbuild: InRelease of $URL trixie does not start with a signed text\n"},
		{name: "unsigned, accepted", archive: archive{Unsigned: true}, args: []string{"--no-check-signatures"}},
		{name: "unsigned, trusted", archive: archive{Unsigned: true}, mirror: "deb [trusted=yes] $URL trixie main"},
		{name: "detached signature", archive: archive{NoInRelease: true}},
		{name: "Release tampered with", edit: func(s *archivetest.Site) { s.Edit(release, archivetest.Flip(100)) }, status: 4,
			err: "vmbuild: InRelease of $URL trixie is signed by key $ID, but not rightly: openpgp: invalid signature: EdDSA verification failure\n"},
		{name: "index tampered with", edit: func(s *archivetest.Site) {
			for _, suffix := range []string{"", ".gz", ".xz"} {
				s.Edit(index+suffix, archivetest.Flip(-1))
			}
		}, status: 4, err: "vmbuild: " + index + ".xz of $URL has SHA256 HASH, its index says HASH\n"},
		{name: "package tampered with", edit: func(s *archivetest.Site) { s.Edit(pool, archivetest.Flip(-1)) }, status: 4,
			err: "vmbuild: build layer: " + pool + " of $URL has SHA256 HASH, its index says HASH\n"},
		{name: "package too short", edit: func(s *archivetest.Site) { s.Edit(pool, archivetest.Truncate(100)) }, status: 4,
			err: "vmbuild: build layer: " + pool + " of $URL has 100 bytes, its index says 768\n"},
		{name: "package missing", edit: func(s *archivetest.Site) { delete(s.Files, pool) }, status: 1,
			err: "vmbuild: build layer: fetch $URL/" + pool + ": 404 Not Found\n"},
		{name: "Release not available at first", faults: archivetest.Faults{Status: map[string][]int{release: {503}}}},
		{name: "package not available at first", faults: archivetest.Faults{Status: map[string][]int{pool: {503}}}},
		{name: "package breaks off at first", faults: archivetest.Faults{Cut: map[string][]int{pool: {100}}}},
		{name: "key that is not given", args: []string{"--keyring=other.gpg"}, status: 4,
			err: "vmbuild: InRelease of $URL trixie is signed by key $ID, which is not in the keyring\n"},
		{name: "keyring that is not there", args: []string{"--keyring=none.gpg"}, status: 2,
			err: "vmbuild: --keyring: lstat none.gpg: no such file or directory\n"},
		{name: "no keyring", args: []string{"--keyring=nokey"}, status: 1,
			err: "vmbuild: read keyring: openpgp: invalid data: tag byte does not have MSB set: $DIR/nokey\n"},
		{name: "directory of keyrings", args: []string{"--keyring=other.gpg", "--keyring=keys"}},
		{name: "signed-by", args: []string{"--keyring=other.gpg"}, mirror: "deb [signed-by=$URLKEY] $URL trixie main"},
		{name: "signed-by of another", mirror: "deb [signed-by=$DIR/other.gpg] $URL trixie main", status: 4,
			err: "vmbuild: InRelease of $URL trixie is signed by key $ID, which is not in the keyring\n"},
		{name: "Release of another suite", edit: func(s *archivetest.Site) {
			if err := s.Sign("dists/trixie", bytes.ReplaceAll(s.Files["dists/trixie/Release"], []byte("trixie"), []byte("bullseye"))); err != nil {
				t.Fatal(err)
			}
		}, status: 4, err: "vmbuild: InRelease of $URL trixie is of another suite: bullseye (bullseye)\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := b
			b.cache = filepath.Join(b.dir, "cache of "+c.name) // which has nothing that is good
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
			b.words["ID"] = site.Keys[0].ID()
			b.write(t, map[string]string{"other.gpg": string(other.Public()), "keys/a.gpg": string(site.Keyring()), "nokey": "no key"})
			args := append(unpack("--keyring=$URLKEY"), c.args...)
			got := b.do(t, request{args: append(args, "trixie", "-", or(c.mirror, "$URL")), see: []string{"opt/*"}})
			got.Err = clock.ReplaceAllString(hash.ReplaceAllString(got.Err, "HASH"), "clock says NOW")
			want := ran{Status: c.status, Err: c.err + hints[c.status]}
			if c.status == 0 {
				want.Out = "-rw-r--r-- 0:0 opt/a \"a 1\"\n"
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is another text in each run.
var (
	hash  = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	clock = regexp.MustCompile(`clock says .*`)
)

// hints are what follows the errors of an exit status.
var hints = map[int]string{
	2: "vmbuild: vmbuild bootstrap --help lists all options\n",
	4: "vmbuild: nothing was written: this archive cannot be trusted as it is\n",
}
