package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/image"
)

// damaged is an error as those of package archive are when they come from the inner half of a build.
type damaged struct{}

func (damaged) Error() string { return "InRelease of http://m.example/debian trixie is not signed" }
func (damaged) Kind() string  { return "verification" }

// other is an error of some other kind.
type other struct{ damaged }

func (other) Kind() string { return "other" }

func TestReport(t *testing.T) {
	const (
		options = "vmbuild: vmbuild --help lists all options\n"
		trust   = "vmbuild: nothing was written: this archive cannot be trusted as it is\n"
		stopped = "vmbuild: interrupted; nothing was left behind\n"
		release = "InRelease of http://m.example/debian trixie is not signed\n"
	)
	for name, c := range map[string]struct {
		err    error
		status int
		text   string
	}{
		"done":                 {nil, 0, ""},
		"failure":              {errors.New("run mke2fs: exit status 1\nlast words\n"), 1, "vmbuild: run mke2fs: exit status 1\nvmbuild: last words\n"},
		"usage":                {usageError{errors.New("unknown flag --x")}, 2, "vmbuild: unknown flag --x\n" + options},
		"refused":              {&image.RefusedError{Problems: []string{"a", "b"}}, 2, "vmbuild: a\nvmbuild: b\n" + options},
		"refused, wrapped":     {fmt.Errorf("plan: %w", &image.RefusedError{Problems: []string{"a"}}), 2, "vmbuild: plan: a\n" + options},
		"missing":              {&image.MissingError{Problems: []string{"no uidmap", "no room"}}, 3, "vmbuild: no uidmap\nvmbuild: no room\n"},
		"verification":         {fmt.Errorf("resolve packages: %w", damaged{}), 4, "vmbuild: resolve packages: " + release + trust},
		"another kind":         {other{}, 1, "vmbuild: " + release},
		"interrupted":          {fmt.Errorf("unpack: %w", context.Canceled), 130, stopped},
		"interrupted download": {errors.Join(damaged{}, context.Canceled), 130, stopped},
		"time is over":         {fmt.Errorf("the time of 1s is over: %w", context.DeadlineExceeded), 1, "vmbuild: the time of 1s is over: context deadline exceeded\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var text bytes.Buffer
			status := report(&text, c.err)
			if diff := cmp.Diff(c.text, text.String()); diff != "" || status != c.status {
				t.Errorf("status %d, want %d\n%s", status, c.status, diff)
			}
		})
	}
}

func TestShellQuote(t *testing.T) {
	for word, want := range map[string]string{
		"vmbuild": "vmbuild", "./a/b_c-1.0,x@y:z=+": "./a/b_c-1.0,x@y:z=+", "": "''", "my image.img": "'my image.img'",
		"it's": `'it'\''s'`, "$HOME": "'$HOME'", "a;b&c|d": "'a;b&c|d'", "*?[x]": "'*?[x]'", "~": "'~'", `a\b`: `'a\b'`,
		"new\nline": "'new\nline'", "ä": "'ä'", "''": `''\'''\'''`,
	} {
		got := shellQuote(word)
		if got != want {
			t.Errorf("%q becomes %s, want %s", word, got, want)
		}
		back, err := exec.Command("sh", "-c", "printf %s "+got).Output()
		if err != nil || string(back) != word {
			t.Errorf("a shell reads %s as %q: %v", got, back, err)
		}
	}
}
