package chroot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	politeTime = time.Second     // for programs to end after SIGTERM
	killTime   = 5 * time.Second // for the kernel to end them after SIGKILL
)

// terminate ends processes until there are none to be found any more. They are found as their open /proc directories, which
// stand for a process as a pidfd does: nothing that gets its number later can be meant.
func terminate(find func() ([]*os.File, error)) error {
	start := time.Now()
	for {
		processes, err := find()
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

// processes returns those whose root directory is this root or below it. Other roots of the build are left alone.
func (r *Root) processes() ([]*os.File, error) {
	var root unix.Stat_t
	if err := unix.Fstat(int(r.root.Fd()), &root); err != nil {
		return nil, err
	}
	return findProcesses(func(p *os.File) bool { return r.holds(p, &root) })
}

func findProcesses(wanted func(*os.File) bool) ([]*os.File, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []*os.File
	for _, dir := range dirs {
		p, err := os.Open(dir)
		if err != nil {
			continue // it has ended
		}
		if wanted(p) {
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

// process is what tells a process from all others that there are and were.
type process struct {
	pid   int
	start string // in the kernel's clock ticks since it started
}

// status is a process and what changes of it.
type status struct {
	process
	parent int
	ended  bool // nobody has waited for it yet
}

func statProcess(dir *os.File) (status, error) {
	data, err := os.ReadFile(filepath.Join(procPath(dir), "stat"))
	if err != nil {
		return status{}, err
	}
	return parseStat(data)
}

// parseStat reads /proc/PID/stat, proc_pid_stat(5). The second field, the program's name, may have anything in it.
func parseStat(data []byte) (status, error) {
	head, _, found := bytes.Cut(data, []byte(" ("))
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:]) // from the third on
	if !found || len(fields) < 20 {
		return status{}, fmt.Errorf("unknown form of a process's state: %q", data)
	}
	pid, err := strconv.Atoi(string(head))
	if err != nil {
		return status{}, err
	}
	parent, err := strconv.Atoi(string(fields[1]))
	ended := bytes.ContainsAny(fields[0], "ZX")
	return status{process{pid, string(fields[19])}, parent, ended}, err
}

// statuses returns what /proc says of all processes.
func statuses() ([]status, error) {
	var all []status
	_, err := findProcesses(func(dir *os.File) bool {
		if s, err := statProcess(dir); err == nil {
			all = append(all, s)
		}
		return false
	})
	return all, err
}

func runningProcesses() (map[process]bool, error) {
	all, err := statuses()
	running := make(map[process]bool)
	for _, s := range all {
		running[s.process] = true
	}
	return running, err
}

// ownFamily returns the numbers of this process and of all that descend from it, as this /proc has them: it may be that of
// another PID namespace.
func ownFamily() (map[int]bool, error) {
	link, err := os.Readlink("/proc/self")
	if err != nil {
		return nil, err
	}
	self, err := strconv.Atoi(link)
	if err != nil {
		return nil, err
	}
	all, err := statuses()
	family := map[int]bool{self: true}
	for grown := true; grown; {
		grown = false
		for _, s := range all {
			if family[s.parent] && !family[s.pid] {
				family[s.pid], grown = true, true
			}
		}
	}
	return family, err
}

// reachable says whether a process is of this PID namespace or one below it, which a foreign /proc does not tell.
func reachable(process *os.File) bool {
	return unix.PidfdSendSignal(int(process.Fd()), 0, nil, 0) == nil
}
