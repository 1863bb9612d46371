package measure

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// interval is how often memory is looked at.
const interval = 50 * time.Millisecond

// memoryWatch adds up the memory of this process's descendants.
type memoryWatch struct {
	ended chan struct{}
	peak  chan int64
}

func watchMemory() *memoryWatch {
	w := &memoryWatch{ended: make(chan struct{}), peak: make(chan int64)}
	go w.watch()
	return w
}

// stop returns the largest sum seen, in bytes.
func (w *memoryWatch) stop() int64 {
	close(w.ended)
	return <-w.peak
}

func (w *memoryWatch) watch() {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var peak int64
	family := newFamily(os.Getpid())
	for {
		select {
		case <-w.ended:
			w.peak <- peak
			return
		case <-tick.C:
		}
		var sum int64
		for _, m := range family.members() {
			if !sharesMemory(m.pid, m.parent) {
				sum += resident(m.pid)
			}
		}
		peak = max(peak, sum)
	}
}

// resident reads the memory of a process that is in RAM, in bytes; proc(5): the second number of statm, in pages. A process
// that is gone has none.
func resident(pid int) int64 {
	data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	fields := bytes.Fields(data)
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize())
}

// sharesMemory says whether a process works in its parent's memory: it is between vfork and exec then, as are all that Go
// programs start (kcmp(2)). Where the kernel does not tell, it has memory of its own.
func sharesMemory(pid, parent int) bool {
	const kcmpVM = 1
	order, _, err := unix.Syscall6(unix.SYS_KCMP, uintptr(pid), uintptr(parent), kcmpVM, 0, 0, 0)
	return err == 0 && order == 0
}

// member is a descendant.
type member struct{ pid, parent int }

// family finds the descendants of a process. It remembers those of other processes, which are most, by their numbers.
type family struct {
	root      int
	strangers map[int]bool
}

func newFamily(root int) *family { return &family{root, map[int]bool{root: true}} }

// members returns the descendants that there are now.
func (f *family) members() []member {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	parents := map[int]int{}
	strangers := map[int]bool{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		switch {
		case err != nil:
		case f.strangers[pid]:
			strangers[pid] = true
		default:
			parents[pid] = parentOf(pid)
		}
	}
	f.strangers = strangers
	var members []member
	for pid, parent := range parents {
		switch f.elder(pid, parents) {
		case f.root:
			members = append(members, member{pid, parent})
		case gone: // whose it was is seen the next time
		default:
			f.strangers[pid] = true
		}
	}
	return members
}

// elder returns the first of a process's ancestors that is known already.
func (f *family) elder(pid int, parents map[int]int) int {
	for range len(parents) + 1 {
		parent, young := parents[pid]
		if !young {
			return pid
		}
		pid = parent
	}
	return gone // numbers were taken again while they were read
}

// gone stands for the parent of a process that has ended.
const gone = -1

// parentOf reads the fourth field of a process's stat, behind its name, which may have anything in it but is the last to be
// in parentheses.
func parentOf(pid int) int {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if err != nil || len(fields) < 2 {
		return gone
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return gone
	}
	return parent
}

// endOrphans ends what the programs left running. Only what has become this process's own child is waited for, by its
// number; the rest are children of those.
func endOrphans() error {
	family := newFamily(os.Getpid())
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		members := family.members()
		if len(members) == 0 {
			return nil
		}
		if time.Since(start) > grace {
			return fmt.Errorf("processes do not end: %v", members)
		}
		for _, m := range members {
			if err := unix.Kill(m.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("end process %d: %w", m.pid, err)
			}
			_, _ = unix.Wait4(m.pid, nil, unix.WNOHANG, nil)
		}
	}
}
