package sources_test // offers imports package mirror, which imports this one

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/sources"
)

// What apt makes of a file is what it means. Both refuse the same files, and want the same indexes of the others.
func TestAptAgrees(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "apt-get")
	for _, c := range []struct{ file, text string }{
		{"x.list", "deb http://m.example/debian trixie main contrib # mine\n\n#deb x\n\tdeb-src http://m.example/debian/ sid main\r\n"},
		{"x.list", "deb [ arch=amd64,i386 trusted=yes ] http://m.example/debian trixie main"},
		{"x.list", "deb [arch+=armhf] http://m.example trixie main\ndeb [arch-=i386] http://n.example trixie main"},
		{"x.list", "deb [] http://m.example trixie main\ndeb [ x=\"a # b\" lang=none]   http://n.example trixie main"},
		{"x.list", `deb "http://m.example/a%20b" "tri"xie m%61in`},
		{"x.list", "deb cdrom:/[Debian GNU/Linux 12]/ bookworm main"},
		{"x.list", "deb http://[::1]:80/debian bookworm main"},
		{"x.list", "deb [trusted=yes] file:/srv/debs ./\ndeb-src file:/srv/debs a/b/\ndeb http://m.example $(ARCH)/\ndeb http://$(ARCH).example sid main"},
		{"x.list", "deb [arch=amd64]http://m.example trixie main"},
		{"x.list", "deb [arch=amd64 http://m.example trixie main"},
		{"x.list", "deb [arch] http://m.example trixie main"},
		{"x.list", "deb [arch=] http://m.example trixie main"},
		{"x.list", "deb [signed-by=k.gpg] http://m.example trixie main"},
		{"x.list", "deb [signed-by=/k.gpg,0123456789ABCDEF0123456789ABCDEF01234567!] http://m.example trixie main"},
		{"x.list", "deb"},
		{"x.list", "deb http://m.example"},
		{"x.list", "deb http://m.example trixie"},
		{"x.list", "deb http://m.example trixie/ main"},
		{"x.list", "deb m.example trixie main"},
		{"x.list", "rpm http://m.example trixie main"},
		{"x.list", "deb[arch=amd64] http://m.example trixie main"},
		{"x.list", `deb "http://m.example trixie main`},
		{"x.list", "Types: deb"},
		{"x.list", "deb [trusted=yes] http://m.example trixie main\ndeb http://m.example trixie contrib"},
		{"x.list", "deb http://m.example trixie main\ndeb-src [trusted=yes] http://m.example/ trixie contrib"},
		{"x.list", "deb [trusted=yes] http://m.example trixie main\ndeb-src [trusted=true] http://m.example/ trixie contrib"},
		{"x.list", "deb [signed-by=/k.gpg] http://m.example trixie main\ndeb http://m.example trixie contrib"},
		{"x.list", "deb http://m.example trixie main\ndeb [signed-by=/k.gpg] http://m.example trixie contrib"},
		{"x.list", "deb [check-valid-until=no] http://m.example trixie main\ndeb http://m.example trixie contrib"},
		{"x.list", "deb [inrelease-path=a] http://m.example trixie main\ndeb http://m.example trixie contrib"},
		{"x.list", "deb [allow-weak=yes] http://m.example trixie main\ndeb http://m.example trixie contrib"},
		{"x.list", "deb [allow-weak=no] http://m.example trixie main\ndeb http://m.example trixie contrib"},
		{"x.list", "deb [valid-until-max=5] http://m.example trixie main\ndeb http://m.example trixie contrib"},
		{"x.list", "deb [check-date=no] http://m.example trixie main\ndeb http://m.example trixie contrib"},
		{"x.list", "deb [by-hash=no] http://m.example trixie main\ndeb http://m.example trixie contrib"},
		{"x.sources", "# mine\n\nTypes: deb deb-src\nURIs: http://m.example\n http://n.example/debian\nSuites: trixie sid\n" +
			"# more\nComponents: main contrib\nX-Mine: yes\n\n\nTypes: deb\nURIs: http://o.example\nSuites: ./\n"},
		{"x.sources", "types: deb\nuris: http://m.example\nSUITES: trixie\ncomponents: main\narchitectures: amd64,armhf arm64\n"},
		{"x.sources", "Types: deb\nURIs: http://m.example\nSuites: trixie\nComponents: main\nArchitectures-Add: armhf\nArchitectures-Remove: amd64\n"},
		{"x.sources", "Types: deb\nURIs: http://m.example\nSuites: $(ARCH)/\nSigned-By:\n" +
			" -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEYCQjIxYJKwYBBAHaRw8BAQdAD/P5Nvvnvk66SxBB\n =IE0r\n -----END PGP PUBLIC KEY BLOCK-----\n"},
		{"x.sources", "Enabled: no\nTypes: deb\nURIs: http://m.example\n\nEnabled: perhaps\nTypes: deb\nURIs: x:/\nSuites: a/\n"},
		{"x.sources", "Enabled: false\nTypes: rpm\n"},
		{"x.sources", "URIs: http://m.example\nSuites: trixie\nComponents: main\n"},
		{"x.sources", "Types: deb\nSuites: trixie\nComponents: main\n"},
		{"x.sources", "Types: deb\nURIs: http://m.example\nComponents: main\n"},
		{"x.sources", "Types: deb\nURIs: http://m.example\nSuites: trixie\n"},
		{"x.sources", "Types: deb\nURIs: http://m.example\nSuites: trixie /\nComponents: main\n"},
		{"x.sources", "Types: deb\nURIs: http://m.example/a%20b\nSuites: trixie\nComponents: ma%69n\n"},
		{"x.sources", "Types: deb\nURIs: http://m.example\nSuites: trixie\nComponents: main\nSigned-By: k.gpg\n"},
		{"x.sources", "\n\n# nothing\n"},
	} {
		root := t.TempDir()
		for _, dir := range []string{"etc/apt/sources.list.d", "etc/apt/apt.conf.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"} {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(root, "etc/apt/sources.list.d", c.file), []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		want, refused := aptIndexes(t, root)
		files, err := sources.ReadTree(os.DirFS(filepath.Join(root, "etc/apt")))
		if (err != nil) != (refused != "") {
			t.Errorf("%s\nwe say %v, apt says %s", c.text, err, refused)
			continue
		}
		if diff := cmp.Diff(want, ourIndexes(files)); err == nil && diff != "" {
			t.Errorf("%s\n%s", c.text, diff)
		}
	}
}

// aptIndexes asks apt which indexes the sources below root name, and for the words in which it refuses to say.
func aptIndexes(t *testing.T, root string) (indexes []string, refused string) {
	t.Helper()
	cmd := exec.Command("apt-get", "-o", "Dir="+root, "-o", "Dir::State::status=/dev/null", "-o", "APT::Architecture=amd64",
		"-o", "APT::Architectures=amd64,i386", "indextargets", "--no-release-info")
	cmd.Env = append(os.Environ(), "APT_CONFIG=/dev/null", "LC_ALL=C.UTF-8")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, stderr.String()
	}
	for p, err := range control.Paragraphs(out) {
		if err != nil {
			t.Fatal(err)
		}
		// apt asks each archive for packages of the architecture all, too, without being told.
		if by := p.Get("Created-By"); (by == "Packages" || by == "Sources") && p.Get("Architecture") != "all" {
			indexes = append(indexes, strings.Join([]string{
				p.Get("Target-Of"), p.Get("Repo-URI"), p.Get("Release"), p.Get("Component"), p.Get("Architecture"),
			}, "|"))
		}
	}
	return distinct(indexes), ""
}

// ourIndexes are those that the entries mean.
func ourIndexes(files []sources.File) []string {
	var indexes []string
	for _, f := range files {
		for _, e := range f.Entries {
			if e.Disabled {
				continue
			}
			e = e.Expand("amd64")
			components, arches := e.Components, e.Architectures([]string{"amd64", "i386"})
			if len(components) == 0 {
				components, arches = []string{""}, []string{""}
			}
			for _, uri := range e.URIs {
				for _, s := range e.Suites {
					for _, c := range components {
						at := "|" + strings.TrimRight(uri, "/") + "/|" + s + "|" + c + "|"
						if e.DebSrc {
							indexes = append(indexes, "deb-src"+at)
						}
						for _, a := range arches {
							if e.Deb {
								indexes = append(indexes, "deb"+at+a)
							}
						}
					}
				}
			}
		}
	}
	return distinct(indexes)
}

func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
