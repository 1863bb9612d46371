package measure

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Detach takes the loop devices, and what the device mapper has made of them, from files below a directory. A program that
// was broken off leaves them.
func Detach(dir string) error {
	return detach("/sys/block", dir, func(device string) error {
		f, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
	})
}

// detach looks through sysfs: loopN/loop/backing_file has the path of a loop device's file, with " (deleted)" behind it
// when that is gone, and loopN/holders the devices made of it.
func detach(sys, dir string, clear func(device string) error) error {
	files, err := filepath.Glob(sys + "/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		backing, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(backing), dir+"/") {
			continue // it has just been detached, or belongs to others
		}
		loop := filepath.Dir(filepath.Dir(file))
		errs = append(errs, removeMapped(loop))
		if err := clear("/dev/" + filepath.Base(loop)); err != nil {
			errs = append(errs, fmt.Errorf("detach loop device %q: %w", filepath.Base(loop), err))
		}
	}
	return errors.Join(errs...)
}

// removeMapped removes the device mapper's devices that hold a loop device or one of its partitions.
func removeMapped(loop string) error {
	names, err := filepath.Glob(loop + "/holders/*/dm/name")
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range names {
		name, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if out, err := exec.Command("dmsetup", "remove", "--", strings.TrimSpace(string(name))).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("remove device %s: %w: %s", strings.TrimSpace(string(name)), err, out))
		}
	}
	return errors.Join(errs...)
}
