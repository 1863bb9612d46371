// Probe is the program that tests of package chroot run in their roots: it is static, so a root needs nothing else.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	words := map[string]func(){
		"look":   look,
		"fail":   func() { fmt.Println("one"); fmt.Fprintln(os.Stderr, "two"); os.Exit(3) },
		"die":    func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) },
		"sleep":  func() { time.Sleep(time.Minute) },
		"deaf":   func() { signal.Ignore(syscall.SIGTERM); time.Sleep(time.Minute) },
		"daemon": func() { daemon("sleep"); daemon("deaf") },
		"sync":   func() { fmt.Print(syscall.Fsync(-1), " ", syscall.Fdatasync(-1)) },
		"mount":  mount,
		"touch":  func() { _ = os.WriteFile("file", []byte("touched"), 0o644) },
		"cat":    func() { _, _ = io.Copy(os.Stdout, os.Stdin); _, _ = io.Copy(os.Stdout, os.NewFile(3, "")) },
	}
	words[os.Args[1]]()
}

// daemon starts this program so that it outlives us, keeps our output open, and no process group knows of it.
func daemon(word string) {
	cmd := exec.Command("/proc/self/exe", word)
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// mount mounts a tmpfs on another, busy with a file.
func mount() {
	for range 2 {
		if err := syscall.Mount("tmpfs", "/mnt", "tmpfs", 0, ""); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		_ = os.WriteFile("/mnt/file", nil, 0o644)
	}
}

// look says what a program sees.
func look() {
	seen := map[string]any{"env": os.Environ()}
	seen["cwd"], _ = os.Getwd()
	for _, dir := range []string{"/dev", "/sys/firmware", "/"} {
		entries, _ := os.ReadDir(dir)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		seen[dir] = names
	}
	self, _ := os.Readlink("/proc/self")
	seen["own /proc"] = self == fmt.Sprint(os.Getpid())
	for _, path := range []string{"/dev/null", "/dev/console", "/dev/shm/x", "/dev/ptmx", "/proc/sys/kernel/hostname", "/sys/x",
		"/bound/x", "/etc/resolv.conf", "/etc/x"} {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err == nil {
			f.Close()
		}
		seen["write "+path] = fmt.Sprint(err)
	}
	for _, path := range []string{"/bound/x", "/etc/resolv.conf"} {
		data, _ := os.ReadFile(path)
		seen["read "+path] = string(data)
	}
	var st syscall.Statfs_t
	_ = syscall.Statfs("/dev/pts", &st)
	seen["devpts"] = st.Type == 0x1cd1
	_ = json.NewEncoder(os.Stdout).Encode(seen)
}
