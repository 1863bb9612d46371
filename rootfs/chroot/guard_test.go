package chroot

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// guardScenario: programs outside of a root that was entered mount, unmount and stay.
func guardScenario(ctx context.Context, s *scenario) (err error) {
	dir, err := s.tree("tree")
	if err != nil {
		return err
	}
	r, err := Enter(ctx, dir, Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	before, err := points(dir)
	if err != nil {
		return err
	}
	g, err := Watch(dir)
	if err != nil {
		return err
	}
	own := exec.Command(s.probe, "sleep")
	if err := own.Start(); err != nil {
		return err
	}
	defer func() {
		s.expect("the build's own process", nil, own.Process.Kill())
		_ = own.Wait() // it was killed
	}()
	stays := exec.Command(s.probe, "daemon")
	if err := stays.Run(); err != nil {
		return err
	}
	strangers, err := g.strangers()
	s.expect("processes of others", 2, len(names(strangers)))
	for _, err := range []error{
		err,
		unix.Unmount(filepath.Join(dir, "proc"), unix.MNT_DETACH),
		unix.Unmount(filepath.Join(dir, "dev/pts"), 0),
		unix.Mount("tmpfs", filepath.Join(dir, "mnt"), "tmpfs", 0, ""),
		os.Mkdir(filepath.Join(dir, "mnt/below"), 0o755),
		unix.Mount("tmpfs", filepath.Join(dir, "mnt/below"), "tmpfs", 0, ""),
		unix.Mount("tmpfs", filepath.Join(dir, "proc"), "tmpfs", 0, ""), // with the number of the proc that has gone
	} {
		if err != nil {
			return err
		}
	}
	start := time.Now()
	if err := g.Restore(); err != nil {
		return err
	}
	s.expect("it takes no longer than the deaf get", true, time.Since(start) < politeTime+time.Second)
	after, err := points(dir)
	s.expect("mounts", before, after)
	strangers, strangersErr := g.strangers()
	s.expect("processes of others at the end", 0, len(names(strangers)))
	var out bytes.Buffer
	runErr := r.Run(ctx, Command{Args: []string{"probe", "look"}, Stdout: &out})
	s.expect("a program has its /proc and /dev/pts", true,
		strings.Contains(out.String(), `"own /proc":true`) && strings.Contains(out.String(), `"devpts":true`))
	return errors.Join(err, strangersErr, runErr)
}

// points says, sorted, what is mounted where below a directory.
func points(dir string) ([]string, error) {
	mounts, err := mountTable()
	var all []string
	for _, m := range mounts {
		if below(dir, m.point) {
			all = append(all, m.device+" "+m.point)
		}
	}
	slices.Sort(all)
	return all, err
}

// clearScenario: what is mounted below a directory goes, what is mounted on it or beside it stays.
func clearScenario(_ context.Context, s *scenario) error {
	dir, beside := filepath.Join(s.dir, "dir"), filepath.Join(s.dir, "dir2")
	for _, point := range []string{dir, beside, filepath.Join(dir, "a"), filepath.Join(dir, "a/b")} {
		err := errors.Join(os.Mkdir(point, 0o755), unix.Mount("tmpfs", point, "tmpfs", 0, ""))
		if err != nil {
			return err
		}
	}
	busy, err := os.Create(filepath.Join(dir, "a/b/file"))
	if err != nil {
		return err
	}
	defer busy.Close()
	err = Clear(dir)
	left, pointsErr := points(s.dir)
	for i, line := range left {
		_, left[i], _ = strings.Cut(line, " ")
	}
	slices.Sort(left) // devices have no order
	s.expect("mounts left", []string{dir, beside}, left)
	return errors.Join(err, pointsErr, unix.Unmount(dir, 0), unix.Unmount(beside, 0))
}

const stat = "28 (a) S (b)) S 1 28 28 0 -1 4194560 215 0 0 0 0 0 0 0 20 0 1 0 4711 5468160 232\n"

func TestParseStat(t *testing.T) {
	for data, want := range map[string]status{
		stat:                                     {process{28, "4711"}, 1, false},
		strings.Replace(stat, " S 1", " Z 1", 1): {process{28, "4711"}, 1, true},
	} {
		got, err := parseStat([]byte(data))
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(status{}, process{})); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
	for _, data := range []string{"", "28 (a) S 1", "x" + stat, strings.Replace(stat, " 1 ", " x ", 1), "1 2 3"} {
		if got, err := parseStat([]byte(data)); err == nil {
			t.Errorf("%q is read as %+v", data, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(stat))
	f.Add([]byte(") ("))
	f.Fuzz(func(t *testing.T, data []byte) { _, _ = parseStat(data) })
}
