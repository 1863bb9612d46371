package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vmbuild/cmd/bench/report"
)

// describeMachine reads what a reader of the figures has to know; what cannot be read stays empty.
func describeMachine(work string) report.Machine {
	m := report.Machine{
		Date: time.Now().UTC().Format(time.RFC3339), Cores: runtime.NumCPU(), Versions: map[string]string{},
		System: strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`),
		CPU:    field("/proc/cpuinfo", "model name", ":"),
		Disk:   filesystemOf(work),
	}
	kb, _ := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal", ":"), " kB"), 10, 64)
	m.Memory = kb << 10
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = "Linux " + unix.ByteSliceToString(name.Release[:])
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(load))[:3], " ")
	}
	if u, err := user.Current(); err == nil {
		m.User = "an ordinary user"
		if u.Uid == "0" {
			m.User = "root"
		}
	}
	return m
}

// field returns what follows a name in a file of lines.
func field(path, name, separator string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), separator)
		if strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// filesystemOf returns the type of the file system that holds a directory. Lines of /proc/self/mountinfo have the device's
// numbers in the third field and the type behind " - " (proc(5)).
func filesystemOf(dir string) string {
	var st unix.Stat_t
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || unix.Stat(dir, &st) != nil {
		return ""
	}
	device := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	for line := range bytes.Lines(mounts) {
		before, after, _ := strings.Cut(string(line), " - ")
		if fields := strings.Fields(before); len(fields) > 2 && fields[2] == device {
			kind, _, _ := strings.Cut(after, " ")
			return kind
		}
	}
	return "a file system that is not listed"
}
