package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vmbuild/rootfs/archivetest"
	"vmbuild/rootfs/offers"
)

// smallArchive has what the plan of a BIOS image asks for, by name.
func smallArchive() archivetest.Archive {
	a := archivetest.Archive{Suite: "stable", Codename: "trixie"}
	for _, name := range []string{"linux-image-amd64", "grub-pc", "systemd-sysv", "zstd", "systemd-resolved", "apt", "e2fsprogs"} {
		a.Packages = append(a.Packages, archivetest.Package{Name: name})
	}
	a.Packages = append(a.Packages, archivetest.Package{
		Name: "base-files", Essential: true, Priority: "required",
		Files: []archivetest.File{{Path: "/etc/debian_version", Content: strings.Repeat("13\n", 5000)}},
	})
	return a
}

// TestVerification damages an archive in every way that its keys and hashes are there for. Each time the build stops with
// words that say which file of which archive is wrong and why, and nothing is left behind.
func TestVerification(t *testing.T) {
	offers.Need(t, "build")
	deb := "pool/main/b/base-files/base-files_1_amd64.deb"
	const index = "dists/trixie/main/binary-amd64/Packages"
	for name, c := range map[string]struct {
		archive func(*archivetest.Archive)
		damage  func(*archivetest.Site)
		keyring func(t *testing.T, site *archivetest.Site) []byte
		words   []string
	}{
		"wrong key": {
			keyring: func(t *testing.T, _ *archivetest.Site) []byte {
				other, err := archivetest.NewKey()
				if err != nil {
					t.Fatal(err)
				}
				return other.Public()
			},
			words: []string{"InRelease of http://", " trixie ", "is signed by key", "not in the keyring"},
		},
		"changed byte in InRelease": {
			damage: func(s *archivetest.Site) { s.Edit("dists/trixie/InRelease", archivetest.Flip(120)) },
			words:  []string{"InRelease of http://", " trixie ", "signature"},
		},
		"unsigned": {
			archive: func(a *archivetest.Archive) { a.Unsigned = true },
			words:   []string{"InRelease of http://", " trixie "},
		},
		"changed byte in Packages": {
			damage: func(s *archivetest.Site) {
				for _, suffix := range []string{"", ".gz", ".xz"} {
					s.Edit(index+suffix, archivetest.Flip(-30))
				}
			},
			words: []string{"main/binary-amd64/", " of http://", "SHA256"},
		},
		"changed byte in a package": {
			damage: func(s *archivetest.Site) { s.Edit(deb, archivetest.Flip(200)) },
			words:  []string{deb + " of http://", "SHA256"},
		},
		"truncated package": {
			damage: func(s *archivetest.Site) { s.Edit(deb, archivetest.Truncate(300)) },
			words:  []string{deb + " of http://", "300"},
		},
		"expired": {
			archive: func(a *archivetest.Archive) {
				a.Date, a.ValidUntil = time.Now().AddDate(0, 0, -9), time.Now().AddDate(0, 0, -2)
			},
			words: []string{"Release of http://", " trixie ", "--no-check-valid-until"},
		},
		"another suite": {
			archive: func(a *archivetest.Archive) { a.Suite, a.Codename = "oldstable", "bookworm" },
			damage: func(s *archivetest.Site) {
				for name, data := range s.Files {
					if rest, ok := strings.CutPrefix(name, "dists/bookworm/"); ok {
						s.Files["dists/trixie/"+rest] = data
					}
				}
			},
			words: []string{"Release of http://", "bookworm"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := smallArchive()
			if c.archive != nil {
				c.archive(&a)
			}
			site, err := archivetest.New(a)
			if err != nil {
				t.Fatal(err)
			}
			keyring := site.Keyring()
			if c.keyring != nil {
				keyring = c.keyring(t, site)
			}
			if c.damage != nil {
				c.damage(site)
			}
			refuses(t, site.Start(t).URL, keyring, c.words)
		})
	}
}

func refuses(t *testing.T, mirror string, keyring []byte, words []string) {
	t.Helper()
	cache := t.TempDir()
	p := program{path: build(t), cache: filepath.Join(cache, "vmbuild")}
	dir := p.workDir(t)
	keys := filepath.Join(dir, "keyring.pgp")
	if err := os.WriteFile(keys, keyring, 0o644); err != nil {
		t.Fatal(err)
	}
	before := p.leftovers(t, dir)
	output, status := p.run(t, dir, "--image=test.img", "--grub", "--mirror="+mirror, "--security-mirror=none", "--no-updates",
		"--keyring="+keys)
	if status != 4 {
		t.Errorf("exit status %d, want 4", status)
	}
	for _, w := range words {
		if !strings.Contains(output, w) {
			t.Errorf("%q does not say %q", output, w)
		}
	}
	if after := p.leftovers(t, dir); after != before {
		t.Errorf("something stayed behind:\n%s\nbefore:\n%s", after, before)
	}
}
