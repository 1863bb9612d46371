package chroot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	politeTime = time.Second     // for programs to end after SIGTERM
	killTime   = 5 * time.Second // for the kernel to end them after SIGKILL
)

// terminate ends all processes whose root directory is this root or below it. Other roots of the build are left alone.
func (r *Root) terminate() error {
	start := time.Now()
	for {
		processes, err := r.processes()
		if err != nil || len(processes) == 0 {
			return err
		}
		waited := time.Since(start)
		if waited > politeTime+killTime {
			return fmt.Errorf("processes do not end: %s", strings.Join(names(processes), ", "))
		}
		for _, p := range processes {
			if waited < politeTime {
				_ = signal(p, unix.SIGTERM)
				_ = signal(p, unix.SIGCONT)
			} else {
				_ = signal(p, unix.SIGKILL)
			}
			p.Close()
		}
		time.Sleep(10*time.Millisecond + waited/10)
	}
}

// processes returns the open /proc directories of the processes in the root. They stand for a process as a pidfd does:
// nothing that gets its number later can be meant.
func (r *Root) processes() ([]*os.File, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var root unix.Stat_t
	if err := unix.Fstat(int(r.root.Fd()), &root); err != nil {
		return nil, err
	}
	var found []*os.File
	for _, dir := range dirs {
		p, err := os.Open(dir)
		if err != nil {
			continue // it has ended
		}
		if r.holds(p, &root) {
			found = append(found, p)
		} else {
			p.Close()
		}
	}
	return found, nil
}

// holds says whether a process's root is this one, also when it is seen from another mount namespace, or below it. A
// zombie has none.
func (r *Root) holds(process *os.File, root *unix.Stat_t) bool {
	link := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(process.Fd()), "root", link)
	if err != nil {
		return false
	}
	if below(r.dir, string(link[:n])) {
		return true
	}
	var st unix.Stat_t
	err = unix.Fstatat(int(process.Fd()), "root/.", &st, 0)
	return err == nil && st.Dev == root.Dev && st.Ino == root.Ino
}

func signal(process *os.File, s unix.Signal) error {
	err := unix.PidfdSendSignal(int(process.Fd()), s, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// names gives the programs' names and numbers, and closes their directories.
func names(processes []*os.File) []string {
	var names []string
	for _, p := range processes {
		comm, _ := os.ReadFile(filepath.Join(p.Name(), "comm"))
		names = append(names, fmt.Sprintf("%s (%s)", strings.TrimSpace(string(comm)), filepath.Base(p.Name())))
		p.Close()
	}
	return names
}
