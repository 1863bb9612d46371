package rootfs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vmbuild/rootfs/archivetest"
	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/internal/archive"
	"vmbuild/rootfs/mirror"
	"vmbuild/rootfs/suite"
)

// Dates of the archives; the newest is that of the updates.
var (
	mainDate     = time.Date(2025, 8, 9, 10, 0, 0, 0, time.UTC)
	securityDate = time.Date(2025, 9, 1, 10, 0, 0, 0, time.UTC)
	updatesDate  = time.Date(2025, 9, 6, 10, 0, 0, 0, time.UTC)
)

// A small trixie: what each variant takes, and a package that is newer in each of the other two suites.
var (
	mainArchive = archivetest.Archive{Codename: "trixie", Suite: "stable", Date: mainDate, Components: []string{"main", "contrib"},
		Packages: []archivetest.Package{
			{Name: "dash", Essential: true, Priority: "required", PreDepends: "libc6"},
			{Name: "libc6", Priority: "optional"},
			{Name: "mawk", Priority: "required"},
			{Name: "apt", Priority: "important", Depends: "libapt"},
			{Name: "libapt"},
			{Name: "nano", Priority: "important"},
			{Name: "man-db", Priority: "standard", Depends: "tzdata"},
			{Name: "tzdata", Architecture: "all"},
			{Name: "build-essential", Depends: "gcc"},
			{Name: "gcc"},
			{Name: "sudo", Recommends: "nano", Suggests: "mawk"},
			{Name: "broken", Depends: "libgone (>= 2)"},
			{Name: "rar", Component: "contrib"},
		}}
	updatesArchive = archivetest.Archive{Codename: "trixie-updates", Suite: "stable-updates", Date: updatesDate,
		Packages: []archivetest.Package{{Name: "tzdata", Version: "2", Architecture: "all"}}}
	securityArchive = archivetest.Archive{Codename: "trixie-security", Suite: "stable-security", Date: securityDate,
		Packages: []archivetest.Package{{Name: "libc6", Version: "1+deb13u1"}}}
)

// debian is a Debian of two archives, the main one and that of security.
type debian struct {
	main, security *archivetest.Server
	keyring        string // path of the key that signs both
}

func newDebian(t *testing.T) debian {
	t.Helper()
	key, err := archivetest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	site := func(a archivetest.Archive) *archivetest.Site {
		a.Keys = []archivetest.Key{key}
		if a.Components == nil {
			a.Components = []string{"main", "contrib"}
		}
		s, err := archivetest.New(a)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	main := site(mainArchive)
	maps.Copy(main.Files, site(updatesArchive).Files)
	d := debian{main: main.Start(t), security: site(securityArchive).Start(t), keyring: filepath.Join(t.TempDir(), "keyring.gpg")}
	if err := os.WriteFile(d.keyring, key.Public(), 0o644); err != nil {
		t.Fatal(err)
	}
	return d
}

// spec is of everything that the two archives have.
func (d debian) spec(variant string, include ...string) Spec {
	return Spec{Arch: "amd64", Suite: "trixie", Mirror: d.main.URL, Security: d.security.URL, Variant: variant,
		Include: include, Keyrings: []string{d.keyring}}
}

// sources are those of a lock of that spec.
func (d debian) sources() []Source {
	return []Source{
		{URI: d.main.URL, Suite: "trixie", Components: []string{"main"}},
		{URI: d.main.URL, Suite: "trixie-updates", Components: []string{"main"}},
		{URI: d.security.URL, Suite: "trixie-security", Components: []string{"main"}},
	}
}

// pick returns packages as a lock has them: "name" of the source in which it is newest, "name*" one that nobody asked
// for. The first are the essential ones.
func (d debian) pick(t *testing.T, essential int, names ...string) []Package {
	t.Helper()
	var list []Package
	for i, name := range names {
		name, auto := strings.CutSuffix(name, "*")
		p := Package{Name: name, Essential: i < essential, Auto: auto}
		for source, a := range []archivetest.Archive{mainArchive, updatesArchive, securityArchive} {
			for _, have := range a.Packages {
				if have.Name == name {
					p.Source, p.Path, p.Version, p.Arch = source, have.Filename(), have.Version, have.Architecture
				}
			}
		}
		site := d.main.Site()
		if p.Source == 2 {
			site = d.security.Site()
		}
		data := site.Files[p.Path]
		p.Size, p.SHA256 = int64(len(data)), fmt.Sprintf("%x", sha256.Sum256(data))
		if p.Version == "" {
			p.Version = "1"
		}
		if p.Arch == "" {
			p.Arch = "amd64"
		}
		list = append(list, p)
	}
	return list
}

func TestResolve(t *testing.T) {
	d := newDebian(t)
	b := newBuilder(t)
	var events []Event
	b.Event = func(e Event) { events = append(events, e) }
	s := d.spec("apt", "man-db", "sudo")
	s.Debconf = []string{"man-db man-db/auto-update boolean false"}
	got, err := b.Resolve(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	want := &Lock{
		Arch: "amd64", Suite: "trixie", Sources: d.sources(),
		Packages: d.pick(t, 2, "libc6*", "dash", "tzdata*", "man-db", "sudo", "libapt*", "apt"),
		Debconf:  s.Debconf, Configure: true, Date: updatesDate,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lock (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Event{{Stage: "resolve"}}, events); diff != "" {
		t.Errorf("events:\n%s", diff)
	}
}

// TestResolveLayers adds packages to a system: what the others come to without them is a layer, if it stays the same with them.
func TestResolveLayers(t *testing.T) {
	d := newDebian(t)
	for name, c := range map[string]struct {
		edit func(*Spec)
		base []Package // nil: there is one layer
	}{
		"one":                 {func(s *Spec) { s.Added = []string{"sudo"} }, d.pick(t, 2, "libc6*", "dash", "tzdata*", "man-db", "libapt*", "apt")},
		"all":                 {func(s *Spec) { s.Added = s.Include }, d.pick(t, 2, "libc6*", "dash", "libapt*", "apt")},
		"none":                {func(s *Spec) {}, nil},
		"of the variant":      {func(s *Spec) { s.Include = []string{"apt"}; s.Added = s.Include }, nil},
		"not configured":      {func(s *Spec) { s.Added, s.UnpackOnly = s.Include, true }, nil},
		"nothing for answers": {func(s *Spec) { s.Added, s.Debconf = s.Include, []string{"a a/b string c"} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := d.spec("apt", "man-db", "sudo")
			c.edit(&s)
			got, err := newBuilder(t).Resolve(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			var base []Package
			if got.Base != nil {
				base = got.Base.Packages
				rest := upperLayer{Lock: got}.part().Packages
				if len(base)+len(rest) != len(got.Packages) {
					t.Errorf("%d packages and %d more are not %d", len(base), len(rest), len(got.Packages))
				}
			}
			if diff := cmp.Diff(c.base, base); diff != "" {
				t.Errorf("base (-want +got):\n%s", diff)
			}
		})
	}
}

// TestResolveVariants has the packages of each variant, in the order in which they are installed.
func TestResolveVariants(t *testing.T) {
	d := newDebian(t)
	b := newBuilder(t)
	for variant, want := range map[string][]Package{
		"essential": d.pick(t, 2, "libc6*", "dash"),
		"apt":       d.pick(t, 2, "libc6*", "dash", "libapt*", "apt"),
		"required":  d.pick(t, 2, "libc6*", "dash", "libapt*", "apt", "mawk"),
		"buildd":    d.pick(t, 2, "libc6*", "dash", "libapt*", "apt", "gcc*", "build-essential"),
		"important": d.pick(t, 2, "libc6*", "dash", "libapt*", "apt", "mawk", "nano"),
		"standard":  d.pick(t, 2, "libc6*", "dash", "libapt*", "apt", "mawk", "nano", "tzdata*", "man-db"),
	} {
		got, err := b.Resolve(t.Context(), d.spec(variant))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Packages); diff != "" {
			t.Errorf("%s:\n%s", variant, diff)
		}
	}
}

func TestResolveOfPart(t *testing.T) {
	d := newDebian(t)
	b := newBuilder(t)
	b.Mirrors = mirror.Mirrors{Main: d.main.URL, Security: d.security.URL} // as the host's apt has them
	epoch := time.Unix(1700000000, 0).UTC()
	s := Spec{Arch: "amd64", Suite: "stable", Variant: "essential", Include: []string{"rar"}, Components: []string{"contrib", "main"},
		NoUpdates: true, Keyrings: []string{d.keyring}, Epoch: epoch}
	got, err := b.Resolve(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	want := &Lock{
		Arch: "amd64", Suite: "stable", Configure: true, Epoch: epoch, Date: securityDate,
		Sources: []Source{
			{URI: d.main.URL, Suite: "trixie", Components: s.Components},
			{URI: d.security.URL, Suite: "trixie-security", Components: s.Components},
		},
		Packages: d.pick(t, 2, "libc6*", "dash", "rar"),
	}
	want.Packages[0].Source = 1
	want.Packages[0].Auto = true
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lock (-want +got):\n%s", diff)
	}
}

func TestSources(t *testing.T) {
	const m, s, own = "http://m.example/debian", "http://s.example/debian-security", "http://own.example/debian"
	b := Builder{Mirrors: mirror.Mirrors{Main: m, Security: s}}
	both := []string{"main", "non-free-firmware"}
	for name, c := range map[string]struct {
		spec Spec
		want []Source
	}{
		"all": {Spec{Suite: "trixie"}, []Source{
			{URI: m, Suite: "trixie", Components: []string{"main"}, SignedBy: DebianKeyring},
			{URI: m, Suite: "trixie-updates", Components: []string{"main"}, SignedBy: DebianKeyring},
			{URI: s, Suite: "trixie-security", Components: []string{"main"}, SignedBy: DebianKeyring},
		}},
		"no stable release": {Spec{Suite: "sid"}, []Source{{URI: m, Suite: "sid", Components: []string{"main"}, SignedBy: DebianKeyring}}},
		"alias, components": {Spec{Suite: "oldstable", Components: both, NoUpdates: true}, []Source{
			{URI: m, Suite: "bookworm", Components: both, SignedBy: DebianKeyring},
			{URI: s, Suite: "bookworm-security", Components: both, SignedBy: DebianKeyring},
		}},
		"another mirror, no security": {Spec{Suite: "trixie", Mirror: own, Security: mirror.None}, []Source{
			{URI: own, Suite: "trixie", Components: []string{"main"}, SignedBy: DebianKeyring},
			{URI: own, Suite: "trixie-updates", Components: []string{"main"}, SignedBy: DebianKeyring},
		}},
		"archived": {Spec{Suite: "buster"}, []Source{
			{URI: suite.ArchiveURI, Suite: "buster", Components: []string{"main"}, SignedBy: DebianKeyring, IgnoreValidUntil: true},
			{URI: suite.ArchiveURI, Suite: "buster-updates", Components: []string{"main"}, SignedBy: DebianKeyring, IgnoreValidUntil: true},
			{URI: suite.ArchiveSecurityURI, Suite: "buster/updates", Components: []string{"main"}, SignedBy: DebianKeyring, IgnoreValidUntil: true},
		}},
		"archived, another mirror": {Spec{Suite: "jessie", Mirror: own}, []Source{
			{URI: own, Suite: "jessie", Components: []string{"main"}, SignedBy: DebianKeyring, IgnoreValidUntil: true},
			{URI: suite.ArchiveSecurityURI, Suite: "jessie/updates", Components: []string{"main"}, SignedBy: DebianKeyring, IgnoreValidUntil: true},
		}},
		"another key": {Spec{Suite: "forky", Keyrings: []string{"/my/key"}}, []Source{{URI: m, Suite: "forky", Components: []string{"main"}}}},
	} {
		release, err := suite.Lookup(c.spec.Suite)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, b.sources(c.spec, release)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// Tools come from the mirror of the image's packages, unless that cannot have them.
func TestForTools(t *testing.T) {
	const own = "http://own.example/debian"
	tools := Spec{Arch: "amd64", Suite: suite.Default, Include: []string{"e2fsprogs"}, Variant: "important"}
	for codename, mirror := range map[string]string{"bullseye": own, "jessie": ""} {
		want := tools
		want.Mirror = mirror
		s := Spec{Arch: "arm64", Suite: codename, Mirror: own, Include: []string{"vim"}, Components: []string{"contrib"},
			ExtraSuites: []string{"experimental"}, InRelease: "../x", Variant: "important"}
		if diff := cmp.Diff(want, s.forTools("amd64", []string{"e2fsprogs"})); diff != "" {
			t.Errorf("%s: %s", codename, diff)
		}
	}
}

func TestMergeUsrOfSuites(t *testing.T) {
	key, err := archivetest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	keyring := filepath.Join(t.TempDir(), "keyring.gpg")
	if err := os.WriteFile(keyring, key.Public(), 0o644); err != nil {
		t.Fatal(err)
	}
	b := newBuilder(t)
	for codename, want := range map[string]bool{"bullseye": true, "bookworm": true, "trixie": false, "forky": false, "sid": false} {
		server := archivetest.Start(t, archivetest.Archive{Codename: codename, Keys: []archivetest.Key{key}, Date: mainDate})
		lock, err := b.Resolve(t.Context(), Spec{Arch: "amd64", Suite: codename, Mirror: server.URL, Security: mirror.None, NoUpdates: true,
			Variant: "essential", Keyrings: []string{keyring}})
		if err != nil || lock.MergeUsr != want {
			t.Errorf("%s: %+v, %v", codename, lock, err)
		}
	}
}

func TestResolveErrors(t *testing.T) {
	d := newDebian(t)
	b := newBuilder(t)
	junk := filepath.Join(t.TempDir(), "junk.gpg")
	if err := os.WriteFile(junk, []byte("junk"), 0o644); err != nil {
		t.Fatal(err)
	}
	missing := junk + ".none"
	for name, c := range map[string]struct {
		change func(*Spec)
		want   string // how the message ends, or all of it
	}{
		"package": {func(s *Spec) { s.Include = []string{"sudoo"} },
			`there is no package "sudoo"; the nearest names are sudo`},
		"dependency": {func(s *Spec) { s.Include = []string{"broken"} },
			`package "broken" cannot be installed: broken depends on libgone (>= 2), which is in none of the archives`},
		"version": {func(s *Spec) { s.Include = []string{"sudo=9"} },
			`package "sudo" has no version 9, only 1`},
		"variant": {func(s *Spec) { s.Variant = "huge" },
			`variant "huge" is not one of extract, custom, essential, apt, required, minbase, buildd, important, debootstrap, -, standard`},
		"suite": {func(s *Spec) { s.Suite = "trixy" },
			`"trixy" is not a valid Debian or Ubuntu suite or codename that vmbuild knows (` + strings.Join(suite.Names(), ", ") + `)`},
		"suite that the archive has not": {func(s *Spec) { s.Suite = "sid" },
			`archive ` + d.main.URL + ` has no suite "sid": neither InRelease nor Release is there`},
		"component": {func(s *Spec) { s.Components, s.NoUpdates, s.Security = []string{"non-free"}, true, mirror.None },
			`` + d.main.URL + ` trixie has no component "non-free" (it has main contrib)`},
		"keyring missing": {func(s *Spec) { s.Keyrings = []string{missing} },
			`read keyring: stat ` + missing + `: no such file or directory`},
		"keyring": {func(s *Spec) { s.Keyrings = []string{junk} },
			`read keyring: openpgp: invalid data: tag byte does not have MSB set: ` + junk},
	} {
		t.Run(name, func(t *testing.T) {
			s := d.spec("apt")
			c.change(&s)
			_, err := b.Resolve(t.Context(), s)
			if err == nil || !strings.HasSuffix(": "+err.Error(), ": "+c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// TestResolveOfUnknownKey does not believe an archive that Debian has not signed.
func TestResolveOfUnknownKey(t *testing.T) {
	d := newDebian(t)
	s := d.spec("apt")
	s.Keyrings, s.NoUpdates, s.Security = nil, true, mirror.None
	_, err := newBuilder(t).Resolve(t.Context(), s)
	var wrong *archive.VerificationError
	if !errors.As(err, &wrong) || wrong.File != "InRelease" {
		t.Errorf("%v", err)
	}
}

func TestResolveTools(t *testing.T) {
	d := newDebian(t)
	b := newBuilder(t)
	s := d.spec("", "man-db", "apt")
	got, err := b.resolveTools(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	want := &Lock{
		Arch: "amd64", Suite: "trixie", Sources: d.sources(), Date: updatesDate,
		Packages: d.pick(t, 0, "tzdata*", "man-db", "libapt*", "apt"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lock (-want +got):\n%s", diff)
	}
	s.Include = []string{"mke3fs"}
	_, err = b.resolveTools(t.Context(), s)
	if err == nil || !strings.HasPrefix(err.Error(), "resolve tools: ") || !strings.HasSuffix(err.Error(), `: there is no package "mke3fs"`) {
		t.Errorf("%v", err)
	}
	s.Suite = "x"
	if _, err = b.resolveTools(t.Context(), s); err == nil || !strings.HasPrefix(err.Error(), `resolve tools: "x" is not a valid Debian`) {
		t.Errorf("%v", err)
	}
}

// own makes entries of a package belong to whoever runs the test, who may not give them to others.
func own(files ...archivetest.File) []archivetest.File {
	for i := range files {
		files[i].UID, files[i].GID = os.Getuid(), os.Getgid()
	}
	return files
}

// newTools is an archive of two tools, and the lock of both.
func newTools(t *testing.T, b *Builder) (*archivetest.Server, *Lock) {
	t.Helper()
	young := updatesDate.Add(time.Hour)
	server := archivetest.Start(t, archivetest.Archive{Codename: "trixie", Date: updatesDate, Packages: []archivetest.Package{
		{Name: "e2fsprogs", Depends: "libext2fs", Files: own(
			archivetest.File{Path: "/"}, archivetest.File{Path: "/usr/"}, archivetest.File{Path: "/usr/sbin/", ModTime: young},
			archivetest.File{Path: "/usr/sbin/mke2fs", Mode: 0o755, Content: "a program", ModTime: young},
			archivetest.File{Path: "/usr/sbin/mkfs.ext4", Symlink: "mke2fs", ModTime: young},
			archivetest.File{Path: "/usr/sbin/mkfs.ext2", Hardlink: "/usr/sbin/mke2fs"},
		)},
		{Name: "libext2fs", Compression: ".zst", Files: own(
			archivetest.File{Path: "/"}, archivetest.File{Path: "/usr/"}, archivetest.File{Path: "/usr/lib/"},
			archivetest.File{Path: "/usr/lib/libext2fs.so", Content: "a library"},
		), Scripts: map[string]string{"postinst": "#!/bin/sh\nexit 1\n"}},
	}})
	keyring := filepath.Join(t.TempDir(), "keyring.gpg")
	if err := os.WriteFile(keyring, server.Site().Keyring(), 0o644); err != nil {
		t.Fatal(err)
	}
	lock, err := b.resolveTools(t.Context(), Spec{Arch: "amd64", Suite: "trixie", Mirror: server.URL, Security: mirror.None, NoUpdates: true,
		Include: []string{"e2fsprogs"}, Keyrings: []string{keyring}})
	if err != nil {
		t.Fatal(err)
	}
	return server, lock
}

func TestBase(t *testing.T) {
	b := newBuilder(t)
	server, lock := newTools(t, b)
	var mu sync.Mutex
	seen := map[Event]bool{}
	var uses []LayerUse
	b.Event = func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Layer != nil {
			uses = append(uses, *e.Layer)
			return
		}
		seen[e] = true
	}
	base, err := b.Base(t.Context(), lock)
	if err != nil {
		t.Fatal(err)
	}
	if base.Hit || !base.Epoch.Equal(updatesDate) || filepath.Dir(filepath.Dir(base.Dirs[0])) == b.Cache.Dir() {
		t.Errorf("base %+v", base)
	}
	size := lock.Packages[0].Size + lock.Packages[1].Size
	for _, e := range []Event{
		{Stage: "fetch"}, {Stage: "fetch", Done: size, Total: size, Unit: Bytes},
		{Stage: "unpack", Total: 2, Unit: "packages"}, {Stage: "unpack", Done: 2, Total: 2, Unit: "packages"},
	} {
		if !seen[e] {
			t.Errorf("there was no event %+v", e)
		}
		delete(seen, e)
	}
	for e := range seen {
		if e.Stage != "fetch" && e.Stage != "unpack" {
			t.Errorf("event %+v", e)
		}
	}

	// The tree is the skeleton, the packages' files and dpkg's database, which package dpkg tests.
	skeleton := planted(t, nil)
	if err := makeSkeleton(skeleton, lock); err != nil {
		t.Fatal(err)
	}
	want := listing(t, skeleton)
	maps.Copy(want, map[string]string{
		"/usr": aDir, "/usr/sbin": aDir, "/usr/lib": aDir, "/usr/sbin/mke2fs": file(0o755, "a program"),
		"/usr/sbin/mkfs.ext2": file(0o755, "a program") + " = /usr/sbin/mke2fs", "/usr/sbin/mkfs.ext4": link("mke2fs"),
		"/usr/lib/libext2fs.so": file(0o644, "a library"),
	})
	got := listing(t, base.Dirs[0])
	for _, lines := range []map[string]string{want, got} {
		maps.DeleteFunc(lines, func(path, _ string) bool { return strings.HasPrefix(path, "/var/lib/dpkg/") })
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	for path, when := range times(t, base.Dirs[0]) {
		if when.After(updatesDate) {
			t.Errorf("%s is of %s, younger than the archive", path, when)
		}
	}
	noted, err := readLock(filepath.Join(filepath.Dir(base.Dirs[0]), layerLock))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lock, noted); diff != "" {
		t.Errorf("lock of the layer:\n%s", diff)
	}

	// The archive has got a new date and is gone: what was made of the same packages is there.
	server.Publish(&archivetest.Site{})
	later := *lock
	later.Date = lock.Date.Add(24 * time.Hour)
	again, err := b.Base(t.Context(), &later)
	if err != nil {
		t.Fatal(err)
	}
	wanted := *base
	wanted.Hit = true
	if diff := cmp.Diff(&wanted, again, cmp.AllowUnexported(Base{}), cmpopts.IgnoreFields(Base{}, "plain")); diff != "" {
		t.Errorf("the second time:\n%s", diff)
	}
	const what = "trixie amd64, 2 packages, not configured"
	key := base.keys[0]
	wantUses := []LayerUse{{What: what, Key: key, Why: []string{"no layer of trixie amd64 is in the cache"}}, {What: what, Key: key, Hit: true}}
	if diff := cmp.Diff(wantUses, uses); diff != "" {
		t.Errorf("what was told of layers:\n%s", diff)
	}
	b.IDMap = "0 1000 1"
	other, err := b.Base(t.Context(), lock) // the packages are in the cache
	if err != nil || other.Hit || other.keys[0] == base.keys[0] {
		t.Errorf("under another mapping of ids: %+v, %v", other, err)
	}
}

func TestBaseOfDamagedPackage(t *testing.T) {
	for name, c := range map[string]struct {
		damage func([]byte) []byte
		want   string // what follows the package's name and archive
	}{
		"bit":   {archivetest.Flip(-1), "has SHA256 "},
		"short": {archivetest.Truncate(100), "has 100 bytes, its index says "},
		"long":  {func(data []byte) []byte { return append(data, 0) }, "has more than the "},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			server, lock := newTools(t, b)
			path := server.Site().Path(t, "libext2fs")
			server.Site().Edit(path, c.damage)
			_, err := b.Base(t.Context(), lock)
			var wrong *archive.VerificationError
			if !errors.As(err, &wrong) || !strings.HasPrefix(err.Error(), "build layer: "+path+" of "+server.URL+" "+c.want) {
				t.Fatalf("%v", err)
			}
			for _, dir := range []string{"layers", "tmp"} {
				left, err := os.ReadDir(filepath.Join(b.Cache.Dir(), dir))
				left = slices.DeleteFunc(left, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), "user-") }) // b's own
				if err != nil || len(left) != 0 {
					t.Errorf("left in %s of the cache: %v, %v", dir, left, err)
				}
			}
		})
	}
}

// recorder notes commands and what they are given.
type recorder struct {
	log  []string
	fail error
}

func (r *recorder) Run(_ context.Context, c chroot.Command) error {
	line := strings.Join(append(slices.Clone(c.Env), c.Args...), " ")
	if c.Stdin != nil {
		text, err := io.ReadAll(c.Stdin)
		if err != nil {
			return err
		}
		line += " < " + string(text)
	}
	r.log = append(r.log, line)
	return r.fail
}

func TestPreseed(t *testing.T) {
	var r recorder
	if err := preseed(t.Context(), quiet{&r}, nil); err != nil || r.log != nil {
		t.Errorf("without answers: %q, %v", r.log, err)
	}
	if err := preseed(t.Context(), quiet{&r}, []string{"a a/b string c", "d d/e boolean true"}); err != nil {
		t.Fatal(err)
	}
	want := []string{"INITRD=No debconf-set-selections < a a/b string c\nd d/e boolean true\n"}
	if diff := cmp.Diff(want, r.log); diff != "" {
		t.Error(diff)
	}
	r.fail = errors.New("exit status 10")
	wantError(t, preseed(t.Context(), &r, []string{"x"}), "answer questions of packages: exit status 10")
}

func TestQuietly(t *testing.T) {
	b := newBuilder(t)
	events := 0
	b.Event = func(Event) { events++ }
	b.Quietly().Event(Event{})
	b.Quietly().Event(Event{Layer: &LayerUse{}})
	b.Event(Event{})
	if events != 2 {
		t.Errorf("%d events were told, want 2", events)
	}
}
