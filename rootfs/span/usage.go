package span

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is the time since some moment that is the same for all processes (clock_gettime(2)), ns.
func monotonic() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return t.Nano()
}

// ownCPU is the CPU time of this process itself, ns.
func ownCPU() int64 { return usage(syscall.RUSAGE_SELF) }

// allCPU is that of this process and of all descendants that were waited for, each by its parent.
func allCPU() int64 { return usage(syscall.RUSAGE_SELF) + usage(syscall.RUSAGE_CHILDREN) }

func usage(who int) int64 {
	var used syscall.Rusage
	if syscall.Getrusage(who, &used) != nil {
		return 0
	}
	return nanoseconds(&used)
}

func nanoseconds(used *syscall.Rusage) int64 { return used.Utime.Nano() + used.Stime.Nano() }

// Sample is the state of a process, and of those that it has started, at a moment.
type Sample struct {
	Memory  int64 `json:"m"`           // resident bytes; what processes share counts for each of them
	CPU     int64 `json:"c"`           // of all of them so far, ns
	Read    int64 `json:"r,omitempty"` // bytes that they have read so far, from wherever
	Written int64 `json:"w,omitempty"`
}

// samplingTime is how often a process is looked at. To look takes some tenths of a millisecond.
const samplingTime = 100 * time.Millisecond

// Watch records the state of this process again and again until stop is called; with family, it records that of all its
// descendants together with its own.
func Watch(ctx context.Context, family bool) (stop func()) {
	s, ok := of(ctx)
	if !ok {
		return func() {}
	}
	record := func() {
		sample := look("/proc", os.Getpid(), family)
		s.take(Record{Time: s.now(), CPU: s.cpu(), Sample: &sample})
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(samplingTime)
		defer ticker.Stop()
		for {
			record()
			select {
			case <-ticker.C:
			case <-done:
				record()
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// process is what /proc says of one, proc_pid_stat(5).
type process struct {
	parent int
	forked bool  // and runs no program of its own yet: its memory is its parent's
	ticks  int64 // of CPU, with the children that it waited for
	pages  int64 // resident
}

// forkedOnly is the flag of such a process (PF_FORKNOEXEC of linux/sched.h).
const forkedOnly = 0x40

// clockTick is the unit of times in /proc: USER_HZ is 100 on every architecture that Debian has.
const clockTick = int64(time.Second / 100)

// look adds up what /proc says of a process, and of its descendants if they are wanted.
func look(proc string, pid int, family bool) Sample {
	all := map[int]process{}
	for _, dir := range processDirs(proc, pid, family) {
		data, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended
		}
		if number, p, ok := parseStat(string(data)); ok {
			all[number] = p
		}
	}
	var sum Sample
	for number, p := range all {
		if !descends(all, number, pid) {
			continue
		}
		sum.CPU += p.ticks * clockTick
		if !p.forked || number == pid {
			sum.Memory += p.pages * int64(os.Getpagesize())
		}
	}
	if data, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "io")); err == nil { // children's too, once waited for
		sum.Read, sum.Written = parseIO(string(data))
	}
	return sum
}

func processDirs(proc string, pid int, family bool) []string {
	if !family {
		return []string{filepath.Join(proc, strconv.Itoa(pid))}
	}
	dirs, _ := filepath.Glob(filepath.Join(proc, "[0-9]*")) // the pattern is a good one
	return dirs
}

// descends says whether a process is the ancestor or descends from it.
func descends(all map[int]process, pid, ancestor int) bool {
	for range len(all) + 1 { // numbers that are given anew while they are read could make a circle
		if pid == ancestor {
			return true
		}
		p, ok := all[pid]
		if !ok {
			return false
		}
		pid = p.parent
	}
	return false
}

// parseStat reads /proc/PID/stat. The second field, the program's name, may have anything in it.
func parseStat(text string) (pid int, p process, ok bool) {
	head, _, _ := strings.Cut(text, " (")
	pid, err := strconv.Atoi(head)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // from the third on
	if err != nil || len(fields) < 22 {
		return 0, p, false
	}
	number := func(field int) (n int64) { // by proc_pid_stat(5)'s count
		n, numberErr := strconv.ParseInt(fields[field-3], 10, 64)
		if numberErr != nil {
			err = numberErr
		}
		return n
	}
	p = process{
		parent: int(number(4)), forked: number(9)&forkedOnly != 0, pages: number(24),
		ticks: number(14) + number(15) + number(16) + number(17),
	}
	return pid, p, err == nil
}

// parseIO reads /proc/PID/io, proc_pid_io(5).
func parseIO(text string) (read, written int64) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, _ := strconv.ParseInt(value, 10, 64)
		switch name {
		case "rchar":
			read = n
		case "wchar":
			written = n
		}
	}
	return read, written
}
