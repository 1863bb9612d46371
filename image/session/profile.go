package session

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

// Profile says where and how often a process writes profiles of its memory, for go tool pprof; the zero value is nowhere.
type Profile struct {
	Prefix string        `json:"prefix,omitzero"` // of the files' paths; empty: there are none
	Every  time.Duration `json:"every,omitzero"`
}

// Start writes profiles of the calling process: one now, one each time the time is over, and one when it is stopped. Their
// files are PREFIX-NAME-NUMBER.pprof. Stop returns what could not be written.
func (p Profile) Start(name string) (stop func() error, err error) {
	if p.Prefix == "" {
		return func() error { return nil }, nil
	}
	number := 0
	write := func() error {
		number++
		return writeHeap(fmt.Sprintf("%s-%s-%03d.pprof", p.Prefix, name, number))
	}
	if err := write(); err != nil {
		return nil, err
	}
	done, ended := make(chan struct{}), make(chan error)
	go func() {
		ticker := time.NewTicker(p.Every)
		defer ticker.Stop()
		var all error
		for {
			select {
			case <-ticker.C:
				all = errors.Join(all, write())
			case <-done:
				ended <- errors.Join(all, write())
				return
			}
		}
	}()
	return func() error {
		close(done)
		return <-ended
	}, nil
}

// writeHeap writes what is in use now, garbage left out.
func writeHeap(name string) error {
	runtime.GC()
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write memory profile: %w", err)
	}
	if err := errors.Join(pprof.WriteHeapProfile(f), f.Close()); err != nil {
		return fmt.Errorf("write memory profile %q: %w", name, err)
	}
	return nil
}
