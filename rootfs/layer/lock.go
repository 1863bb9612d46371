package layer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a lock that another process holds is tried: flock(2) itself cannot be cancelled.
const lockPoll = 50 * time.Millisecond

// lockFile opens path, making it if it is missing, and locks it against every other caller, in this process or another.
// It waits until the lock is free or ctx is done. Closing the file gives the lock back.
//
// The holder may rename or remove the file, so that a waiter gets a lock on something that is no longer at path: then
// it starts again.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := waitLock(ctx, f, unix.LOCK_EX); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		if isAt(f, path) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// waitLock takes the lock as tryLock does, once it is free.
func waitLock(ctx context.Context, f *os.File, how int) error {
	for {
		locked, err := tryLock(f, how)
		if locked || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockPoll):
		}
	}
}

// tryLock takes the lock (unix.LOCK_EX or unix.LOCK_SH) on f if nobody else holds one that excludes it.
func tryLock(f *os.File, how int) (bool, error) {
	for {
		switch err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err {
		case nil:
			return true, nil
		case unix.EINTR:
		case unix.EWOULDBLOCK:
			return false, nil
		default:
			return false, os.NewSyscallError("flock", err)
		}
	}
}

// isAt says whether path leads to the open file f.
func isAt(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(open, there)
}
