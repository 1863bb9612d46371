package sources_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/offers"
	"vmbuild/rootfs/sources"
)

type argument = sources.Argument

const (
	uri    = "http://m.example/debian"
	line   = "deb http://n.example/debian sid main"
	stanza = "Types: deb\nURIs: http://o.example/debian\nSuites: sid\nComponents: main\n"
)

// commandLine is what becomes files, by name, for suite trixie and components main and contrib.
type commandLine struct {
	arguments []argument
	want      map[string]string
}

// asMmdebstrap are command lines of which mmdebstrap makes the same files.
var asMmdebstrap = map[string]commandLine{
	"an address": {[]argument{{uri, ""}}, map[string]string{"sources.list": "deb http://m.example/debian trixie main contrib\n"}},
	"a line":     {[]argument{{line, ""}}, map[string]string{"sources.list": line + "\n"}},
	"an address with options": {[]argument{{"[trusted=yes] " + uri, ""}}, map[string]string{
		"sources.list": "deb [trusted=yes] http://m.example/debian trixie main contrib\n"}},
	"lines and addresses are one file": {[]argument{{line, ""}, {"", ""}, {uri, ""}, {"-", "deb x: /"}, {"deb y: /", ""}}, map[string]string{
		"sources.list": line + "\n\ndeb http://m.example/debian trixie main contrib\n\ndeb x: /\ndeb y: /\n"}},
	"stanzas": {[]argument{{"-", stanza}, {line, ""}}, map[string]string{
		"sources.list.d/0000main.sources": stanza, "sources.list.d/0001main.list": line + "\n"}},
	"files": {[]argument{{"x.list", line}, {"y.sources", stanza}, {"plain", stanza}, {"other", line}, {line, ""}, {"z.list", line}}, map[string]string{
		"sources.list.d/0000x.list": line, "sources.list.d/0001y.sources": stanza, "sources.list.d/0002plain.sources": stanza,
		"sources.list.d/0003other.list": line, "sources.list.d/0004main.list": line + "\n", "sources.list.d/0005z.list": line}},
	"a file after lines": {[]argument{{line, ""}, {"x.list", line}}, map[string]string{
		"sources.list": line + "\n", "sources.list.d/0001x.list": line}},
	"empty standard input": {[]argument{{"-", ""}, {line, ""}}, map[string]string{"sources.list": line + "\n"}},
}

// beyondMmdebstrap are those that mmdebstrap does not take, or makes something of that apt does not read.
var beyondMmdebstrap = map[string]commandLine{
	"other schemes":     {[]argument{{"file:/srv/debian", ""}}, map[string]string{"sources.list": "deb file:/srv/debian trixie main contrib\n"}},
	"a line with a tab": {[]argument{{"deb-src\tx: /", ""}}, map[string]string{"sources.list": "deb-src\tx: /\n"}},
	"stanzas are one file": {[]argument{{"-", stanza}, {"-", stanza}}, map[string]string{
		"sources.list.d/0000main.sources": stanza + "\n\n" + stanza}},
	"names that apt would not read": {[]argument{{"/a/my sources.list.txt", line}, {"x.listing", stanza}}, map[string]string{
		"sources.list.d/0000my_sources.list.txt.list": line, "sources.list.d/0001x.listing.sources": stanza}},
}

func TestFromArguments(t *testing.T) {
	for _, table := range []map[string]commandLine{asMmdebstrap, beyondMmdebstrap} {
		for name, c := range table {
			files, err := sources.FromArguments("trixie", []string{"main", "contrib"}, c.arguments)
			got := map[string]string{}
			for _, f := range files {
				got[f.Name] = f.Content
				if again, err := sources.Parse(f.Name, []byte(f.Content)); err != nil || !cmp.Equal(again, f) {
					t.Errorf("%s: %s is read as something else: %v\n%s", name, f.Name, err, cmp.Diff(f, again))
				}
			}
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%s: %v\n%s", name, err, diff)
			}
		}
	}
}

func TestMmdebstrapMakesTheSameFiles(t *testing.T) {
	offers.Need(t, "build")
	offers.Programs(t, "mmdebstrap")
	for name, c := range asMmdebstrap {
		dir := t.TempDir()
		// The hook fails, so that nothing is fetched.
		args := []string{"--mode=chrootless", "--skip=check/chrootless", "--variant=essential", "--components=main,contrib",
			`--setup-hook=cp -r "$1/etc/apt" ` + dir + `/apt; exit 1`, "trixie", filepath.Join(dir, "out.tar")}
		stdin := ""
		for _, a := range c.arguments {
			switch {
			case a.Argument == "-":
				stdin = a.Content
			case a.Content != "":
				a.Argument = filepath.Join(dir, a.Argument)
				if err := os.WriteFile(a.Argument, []byte(a.Content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			args = append(args, a.Argument)
		}
		cmd := exec.Command("mmdebstrap", args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, _ := cmd.CombinedOutput() // it fails
		if diff := cmp.Diff(c.want, sourcesIn(t, filepath.Join(dir, "apt"))); diff != "" {
			t.Errorf("%s: %s\n%s", name, diff, out)
		}
	}
}

func sourcesIn(t *testing.T, etc string) map[string]string {
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(etc), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(path.Base(path.Dir(name)), "sources") && name != "sources.list" {
			return err
		}
		data, err := os.ReadFile(filepath.Join(etc, name))
		files[name] = string(data)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return files
}

func TestFromArgumentsOfAFlatArchive(t *testing.T) {
	files, err := sources.FromArguments("./", nil, []argument{{"http://m.example", ""}})
	if err != nil || files[0].Content != "deb http://m.example ./\n" {
		t.Errorf("%v, %v", files, err)
	}
}

func TestFromArgumentsErrors(t *testing.T) {
	for _, c := range []struct {
		suite     string
		arguments []argument
		want      string
	}{
		{"sid", nil, "the MIRROR arguments hold no apt source"},
		{"sid", []argument{{"", ""}, {"-", ""}}, "the MIRROR arguments hold no apt source"},
		{"", []argument{{"http://m.example", ""}}, "MIRROR http://m.example is an address, and there is no SUITE to look for in it"},
		{"sid", []argument{{"missing.list", ""}}, `MIRROR "missing.list" is no address (scheme://…), no line of apt sources (deb …) and no file with any`},
		{"sid", []argument{{"deb x:", ""}}, `read apt sources "deb x:": line 1: it has no suite`},
		{"sid", []argument{{"-", "\nnonsense"}}, "read apt sources of standard input: no line begins with deb, deb-src or the name of a field and a colon"},
		{"sid", []argument{{"/a/x.list", "deb x: /\nnonsense"}}, `read apt sources /a/x.list: line 2: type "nonsense" is neither deb nor deb-src`},
		{"sid", []argument{{"http://m.example", ""}, {"deb [trusted=yes] http://m.example sid main", ""}},
			`read apt sources sources.list: option Trusted for http://m.example sid is "yes" and was "" before`},
	} {
		if _, err := sources.FromArguments(c.suite, nil, c.arguments); err == nil || err.Error() != c.want {
			t.Errorf("%q:\n%v; want\n%s", c.arguments, err, c.want)
		}
	}
}

func TestDefault(t *testing.T) {
	const sid = "deb http://m.example/debian sid main\n"
	for suite, want := range map[string]string{
		"trixie": "deb http://m.example/debian trixie main\ndeb http://m.example/debian trixie-updates main\n" +
			"deb http://s.example/security trixie-security main\n",
		"stable": "deb http://m.example/debian stable main\ndeb http://m.example/debian stable-updates main\n" +
			"deb http://s.example/security stable-security main\n",
		"testing":        "deb http://m.example/debian testing main\n",
		"forky":          "deb http://m.example/debian forky main\n",
		"sid":            sid,
		"experimental":   sid + "deb http://m.example/debian experimental main\n",
		"rc-buggy":       sid + "deb http://m.example/debian rc-buggy main\n",
		"trixie-staging": "deb http://m.example/debian trixie-staging main\n",
		"jessie": "deb [check-valid-until=no] http://archive.debian.org/debian jessie main\n" +
			"deb [check-valid-until=no] http://archive.debian.org/debian-security jessie/updates main\n",
		"buster": "deb [check-valid-until=no] http://archive.debian.org/debian buster main\n" +
			"deb [check-valid-until=no] http://archive.debian.org/debian buster-updates main\n" +
			"deb [check-valid-until=no] http://archive.debian.org/debian-security buster/updates main\n",
		"noble": "deb [arch=amd64] http://archive.ubuntu.com/ubuntu noble main\n" +
			"deb [arch=amd64] http://archive.ubuntu.com/ubuntu noble-updates main\n" +
			"deb [arch=amd64] http://security.ubuntu.com/ubuntu noble-security main\n" +
			"deb [arch=arm64] http://ports.ubuntu.com/ubuntu-ports noble main\n" +
			"deb [arch=arm64] http://ports.ubuntu.com/ubuntu-ports noble-updates main\n" +
			"deb [arch=arm64] http://ports.ubuntu.com/ubuntu-ports noble-security main\n",
		"lunar": "deb http://old-releases.ubuntu.com/ubuntu lunar main\ndeb http://old-releases.ubuntu.com/ubuntu lunar-updates main\n" +
			"deb http://old-releases.ubuntu.com/ubuntu lunar-security main\n",
		"kali-rolling": "deb https://http.kali.org/kali kali-rolling main\n",
		"aequorea":     "deb http://archive.tanglu.org/tanglu aequorea main\ndeb http://archive.tanglu.org/tanglu aequorea-updates main\n",
		"./":           "deb http://m.example/debian ./\n",
	} {
		files, err := sources.Default(sources.Wanted{Suite: suite, Architectures: []string{"amd64", "arm64"},
			Main: "http://m.example/debian", Security: "http://s.example/security"})
		if err != nil {
			t.Errorf("%s: %v", suite, err)
			continue
		}
		if len(files) != 1 || files[0].Name != "sources.list" {
			t.Errorf("%s: %v", suite, files)
		}
		if diff := cmp.Diff(want, files[0].Content); diff != "" {
			t.Errorf("%s: %s", suite, diff)
		}
		if again, err := sources.Parse(files[0].Name, []byte(files[0].Content)); err != nil || !cmp.Equal(again, files[0]) {
			t.Errorf("%s is read as something else: %v\n%s", suite, err, cmp.Diff(files[0], again))
		}
	}
}

func TestDefaultWithoutMirrors(t *testing.T) {
	files, err := sources.Default(sources.Wanted{Suite: "bookworm", Components: []string{"main", "non-free-firmware"}})
	want := `deb http://ftp.debian.org/debian bookworm main non-free-firmware
deb http://ftp.debian.org/debian bookworm-updates main non-free-firmware
deb http://security.debian.org/debian-security bookworm-security main non-free-firmware
`
	if err != nil || files[0].Content != want {
		t.Errorf("%v\n%v", err, files)
	}
	files, err = sources.Default(sources.Wanted{Suite: "jammy", Architectures: []string{"riscv64"}})
	if err != nil || !strings.HasPrefix(files[0].Content, "deb http://ports.ubuntu.com/ubuntu-ports jammy main\n") {
		t.Errorf("%v\n%v", err, files)
	}
	files, err = sources.Default(sources.Wanted{Suite: "bullseye", Security: "http://s.example"})
	want = "deb http://ftp.debian.org/debian bullseye main\ndeb http://ftp.debian.org/debian bullseye-updates main\n" +
		"deb http://s.example bullseye-security main\n"
	if err != nil || files[0].Content != want {
		t.Errorf("%v\n%v", err, files)
	}
	if _, err := sources.Default(sources.Wanted{}); err == nil || err.Error() != "no suite: name one, or give apt sources" {
		t.Errorf("no suite: %v", err)
	}
}
