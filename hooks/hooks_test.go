package hooks

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func script(t *testing.T, text string) Hook {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return Hook{Stage: Customize, Path: path}
}

func TestRun(t *testing.T) {
	var log bytes.Buffer
	target := Target{Root: "/the/tree", Image: "x.img", Arch: "amd64", Suite: "trixie", Mirror: "http://m.example/debian",
		Epoch: time.Unix(1700000000, 0), Log: &log}
	first := script(t, `echo first "$1" "$2" $ROOTDIR $VMBUILD_ARCH $VMBUILD_SUITE $VMBUILD_MIRROR $VMBUILD_IMAGE`)
	second := script(t, `echo second $SOURCE_DATE_EPOCH $DEBIAN_FRONTEND $HOME $TMPDIR >&2`)
	other := Hook{Stage: "other", Path: "/missing"}
	t.Setenv("TMPDIR", "/a/directory/of/the/host")
	if err := Run(t.Context(), []Hook{first, other, second}, Customize, target); err != nil {
		t.Fatal(err)
	}
	want := "first /the/tree x.img /the/tree amd64 trixie http://m.example/debian x.img\nsecond 1700000000 noninteractive /root\n"
	if log.String() != want {
		t.Errorf("hooks printed %q, want %q", &log, want)
	}
}

func TestRunStopsAtTheFirstFailure(t *testing.T) {
	var log bytes.Buffer
	bad := script(t, "echo the disk is on fire\nexit 7")
	err := Run(t.Context(), []Hook{bad, script(t, "echo never")}, Customize, Target{Log: &log})
	want := "run customize hook " + bad.Path + ": exit status 7; its last words:\nthe disk is on fire"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if strings.Contains(log.String(), "never") {
		t.Error("the next hook ran")
	}
}

// A hook's children die with it when the build is cancelled, and one that lives on does not hold the build up.
func TestRunIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("Ctrl-C")
	time.AfterFunc(200*time.Millisecond, func() { cancel(reason) })
	start := time.Now()
	err := Run(ctx, []Hook{script(t, "sleep 60 & wait")}, Customize, Target{})
	if !errors.Is(err, reason) || time.Since(start) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

func TestRunDoesNotWaitForADaemon(t *testing.T) {
	start := time.Now()
	if err := Run(t.Context(), []Hook{script(t, "sleep 8 &")}, Customize, Target{}); err != nil || time.Since(start) > 6*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "find customize hook: stat " + filepath.Join(dir, "none") + ": no such file or directory",
		dir:                        "find customize hook: " + dir + " is a directory, not a program",
		plain:                      "find customize hook: " + plain + " is not executable (chmod +x " + plain + ")",
	} {
		if _, err := Find(Hook{Stage: Customize, Path: path}); err == nil || err.Error() != want {
			t.Errorf("Find(%s): %v, want %s", path, err, want)
		}
	}
	h := script(t, "")
	if got, err := Find(h); err != nil || got != h.Path {
		t.Errorf("Find(%s) = %s, %v", h.Path, got, err)
	}
}
