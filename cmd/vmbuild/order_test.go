package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// layers are the top-level folders with Go, in the order of import: a package imports its own folder and earlier ones.
var layers = []string{"rootfs", "partition", "bootloader", "examples", "hooks", "image", "cmd", "yarns"}

// modules are those that vmbuild is made of, besides Go's standard library, and what for.
var modules = map[string]string{
	"github.com/GehirnInc/crypt":        "SHA-512 password hashes, for releases without yescrypt",
	"github.com/ProtonMail/go-crypto":   "signatures of archives: OpenPGP is gone from golang.org/x/crypto",
	"github.com/alecthomas/kong":        "command line: options as struct fields, choices and help from the tables",
	"github.com/creack/pty":             "a terminal for the tests of what talks to one",
	"github.com/diskfs/go-diskfs":       "partition tables: GPT with both copies, MBR",
	"github.com/google/go-cmp":          "differences of whole values in tests",
	"github.com/klauspost/compress":     "zstd, gzip and deflate: members of packages and of indexes, clusters of qcow2 images; the fastest in Go",
	"github.com/lima-vm/go-qcow2reader": "reads qcow2 images, to convert them and for their partition tables",
	"github.com/mikelolasagasti/xz":     "xz: members of packages and of indexes, twice as fast as others in Go",
	"github.com/moby/sys/user":          "subordinate ids in /etc/subuid and /etc/subgid",
	"github.com/openwall/yescrypt-go":   "password hashes as Debian's passwd makes them",
	"github.com/ulikunitz/xz":           "reads .lzma, of old archives' indexes; writes xz, for the tests' archive",
	"github.com/vbauerster/mpb/v8":      "progress bars on a terminal",
	"go.uber.org/zap":                   "the structured log of --log",
	"go.yaml.in/yaml/v3":                "configuration files; its nodes have each text as it is written, with its line",
	"golang.org/x/crypto":               "ssh: reads the public keys of --ssh-key; a client for the tests of machines that have them",
	"golang.org/x/sync":                 "errgroup: several downloads and packages at once, the first error stops all",
	"golang.org/x/sys":                  "system calls of namespaces, mounts and file trees",
	"golang.org/x/term":                 "raw mode for the console of vmbuild run; is standard error a terminal",
}

const root = "../.."

// source is one Go file of the project.
type source struct {
	path    string // below the root, with slashes
	folder  string // its top-level one
	imports []string
	doc     bool // has the package comment
	test    bool
}

// sources reads the project's Go files. It parses them rather than ask the go command so that go test knows what its
// cached result depends on.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(name) != ".go":
			return nil
		}
		s, err := read(name)
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read(name string) (source, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	s := source{test: strings.HasSuffix(name, "_test.go"), doc: describes(file)}
	if s.path, err = filepath.Rel(root, name); err != nil {
		return source{}, err
	}
	s.folder, _, _ = strings.Cut(s.path, "/")
	for _, i := range file.Imports {
		imported, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, imported)
	}
	return s, nil
}

// describes says whether a file has the comment that go doc shows for its package.
func describes(file *ast.File) bool {
	start := "Package " + file.Name.Name + " "
	if file.Name.Name == "main" {
		start = "Command "
	}
	return file.Doc != nil && strings.HasPrefix(file.Doc.Text(), start)
}

func TestImportsGoDownwards(t *testing.T) {
	for _, s := range sources(t) {
		from := slices.Index(layers, s.folder)
		if from < 0 {
			t.Errorf("%s is in none of the folders %s", s.path, strings.Join(layers, ", "))
			continue
		}
		for _, imported := range s.imports {
			below, ours := strings.CutPrefix(imported, "vmbuild/")
			folder, _, _ := strings.Cut(below, "/")
			if to := slices.Index(layers, folder); ours && to > from {
				t.Errorf("%s imports %s, but %s comes before %s", s.path, imported, s.folder, folder)
			}
		}
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	described := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			described[path.Dir(s.path)] = described[path.Dir(s.path)] || s.doc
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(described)) {
		if !described[dir] {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

// TestModulesHaveReasons: what is imported, what has a reason and what go.mod requires directly are the same modules.
func TestModulesHaveReasons(t *testing.T) {
	imported := map[string]bool{}
	for _, s := range sources(t) {
		for _, i := range s.imports {
			if first, _, _ := strings.Cut(i, "/"); strings.Contains(first, ".") {
				imported[moduleOf(i)] = true
			}
		}
	}
	allowed := slices.Sorted(maps.Keys(modules))
	if diff := cmp.Diff(allowed, slices.Sorted(maps.Keys(imported))); diff != "" {
		t.Errorf("modules with a reason (-), modules imported (+):\n%s", diff)
	}
	data, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(allowed, directRequirements(data)); diff != "" {
		t.Errorf("modules with a reason (-), direct requirements of go.mod (+); go mod tidy sets these right:\n%s", diff)
	}
}

// moduleOf returns the module with a reason that holds a package, else the package itself.
func moduleOf(imported string) string {
	for module := range modules {
		if imported == module || strings.HasPrefix(imported, module+"/") {
			return module
		}
	}
	return imported
}

// directRequirements returns the modules that go.mod requires and does not call indirect, sorted.
func directRequirements(mod []byte) []string {
	var direct []string
	for line := range strings.Lines(string(mod)) {
		fields := strings.Fields(strings.TrimPrefix(line, "require "))
		required := len(fields) >= 2 && strings.Contains(fields[0], ".") && strings.HasPrefix(fields[1], "v")
		if required && !slices.Equal(fields[2:], []string{"//", "indirect"}) {
			direct = append(direct, fields[0])
		}
	}
	slices.Sort(direct)
	return direct
}

func TestDirectRequirements(t *testing.T) {
	mod := "module x\n\ngo 1.26.0\n\nrequire example.org/c v1.0.0\n\nrequire (\n\texample.org/b v1.0.0\n\texample.org/a v1.0.0 // indirect\n)\n"
	if diff := cmp.Diff([]string{"example.org/b", "example.org/c"}, directRequirements([]byte(mod))); diff != "" {
		t.Error(diff)
	}
	for imported, want := range map[string]string{"golang.org/x/sys/unix": "golang.org/x/sys", "golang.org/x/system": "golang.org/x/system"} {
		if got := moduleOf(imported); got != want {
			t.Errorf("moduleOf(%q) = %q, want %q", imported, got, want)
		}
	}
}
