package hooks

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFromScriptlets(t *testing.T) {
	const shell = "#!/bin/sh\n"
	for name, test := range map[string]struct {
		files map[string]string
		want  []string // or
		err   string
	}{
		"by name": {files: map[string]string{"b": shell, "a.sh": "", "c": shell + "# needless to say\nneeds a\n need x\n#need y\n"},
			want: []string{"a.sh", "b", "c"}},
		"by need": {files: map[string]string{
			"a": shell + "need c d  # because\n", "b": "", "c": "#!/usr/bin/python3\n# need b", "d": "need\nneed\tb\r\n"},
			want: []string{"b", "c", "d", "a"}},
		"binary": {files: map[string]string{"a": "\x7fELF\x00\nneed b\n", "b": ""}, want: []string{"a", "b"}},
		"ignored": {files: map[string]string{"a": "", ".b": "need x", "c~": "need x", "README (644)": "need x"},
			want: []string{"a"}},
		"cycle": {files: map[string]string{"0": "need a", "a": "need b", "b": "# need c", "c": "\nneed a"},
			err: "order scriptlets of DIR: they need each other: a -> b -> c -> a"},
		"itself": {files: map[string]string{"a": "need a"}, err: "order scriptlets of DIR: they need each other: a -> a"},
		"unknown": {files: map[string]string{"a": shell + "\nneed b x", "b": "", "x (644)": ""},
			err: "order scriptlets of DIR: a:3: need x: the scriptlets are a, b"},
		"none": {files: map[string]string{"README (644)": ""},
			err: "read scriptlets of DIR: there are none: they are executable files (chmod +x)"},
	} {
		t.Chdir(t.TempDir())
		must(t, os.MkdirAll("DIR/directory", 0o755))
		for file, text := range test.files {
			mode := os.FileMode(0o755)
			if plain := len(file) - len(" (644)"); plain > 0 && file[plain:] == " (644)" {
				file, mode = file[:plain], 0o644
			}
			write(t, filepath.Join("DIR", file), text, mode)
		}
		var want []Hook
		for _, file := range test.want {
			want = append(want, Hook{Stage: Customize, Path: "DIR/" + file})
		}
		got, err := FromScriptlets("DIR")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if err == nil && test.err != "" || err != nil && err.Error() != test.err {
			t.Errorf("%s: %v, want %s", name, err, test.err)
		}
	}
	want := "read scriptlets of none: open none: no such file or directory"
	if _, err := FromScriptlets("none"); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// Scriptlets whose lines begin with need run, each once.
func TestScriptletsRun(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	for file, text := range map[string]string{"1": "need 2 3", "2": "need 3", "3": ""} {
		write(t, filepath.Join(dir, file), "#!/bin/sh -e\n"+text+"\necho "+file+` >>"$1/ran"`, 0o755)
	}
	list, err := FromScriptlets(dir)
	must(t, err)
	must(t, Run(t.Context(), list, Customize, Target{Root: root}))
	ran, err := os.ReadFile(filepath.Join(root, "ran"))
	if string(ran) != "3\n2\n1\n" || err != nil {
		t.Errorf("%q, %v", ran, err)
	}
}

func FuzzParseNeeds(f *testing.F) {
	f.Add([]byte("#!/bin/sh\nneed a b # c\n# need d\n"))
	f.Add([]byte("need\t\r\n\nneed"))
	f.Add([]byte("need a\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		last := 1
		for _, n := range parseNeeds(text) {
			if n.name == "" || n.name[0] == '#' || n.line < last {
				t.Fatalf("%+v after line %d", n, last)
			}
			last = n.line
		}
	})
}
