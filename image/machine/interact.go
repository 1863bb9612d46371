package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Keys says what Interact keeps for itself.
const Keys = "Ctrl-A x ends the machine, Ctrl-A Ctrl-A types Ctrl-A"

const ctrlA = 1

// Interact gives the keys typed on a terminal to the guest, all but Keys, which are those of QEMU. What the guest prints
// goes to Machine.Log. The terminal is in raw mode meanwhile; a file that is none is read to its end. Interact returns
// when the machine has ended: nil if by the guest or by Ctrl-A x.
func (p *Process) Interact(ctx context.Context, terminal *os.File) error {
	fd := int(terminal.Fd())
	if term.IsTerminal(fd) {
		before, err := term.MakeRaw(fd)
		if err != nil {
			return fmt.Errorf("set the terminal to raw mode: %w", err)
		}
		defer term.Restore(fd, before)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	quit, err := p.typeKeys(ctx, terminal)
	switch {
	case err != nil:
		return fmt.Errorf("read the terminal: %w", err)
	case quit:
		return p.Close()
	}
	return p.Wait(ctx)
}

// typeKeys passes keys on until the end of the machine, of the file or of ctx, or until it is told to quit.
func (p *Process) typeKeys(ctx context.Context, terminal *os.File) (quit bool, err error) {
	stop, stopped, err := os.Pipe()
	if err != nil {
		return false, err
	}
	defer stop.Close()
	go func() { // wakes the poll
		select {
		case <-p.done:
		case <-ctx.Done():
		}
		stopped.Close()
	}()
	var keys keyFilter
	buffer := make([]byte, 4<<10)
	for {
		if ready, err := readable(terminal, stop); !ready || err != nil {
			return false, err
		}
		n, err := terminal.Read(buffer)
		typed, quit := keys.filter(buffer[:n])
		if quit {
			return true, nil
		}
		// Keys that a machine at its end does not take any more are lost, as they would be anywhere.
		p.keys.Write(typed)
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
	}
}

// readable waits until a file can be read: true, or the other end of a pipe is closed: false.
func readable(file, stop *os.File) (bool, error) {
	for {
		fds := []unix.PollFd{{Fd: int32(file.Fd()), Events: unix.POLLIN}, {Fd: int32(stop.Fd()), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, err
		case fds[1].Revents != 0:
			return false, nil
		case fds[0].Revents != 0:
			return true, nil
		}
	}
}

// keyFilter takes Keys out of what is typed.
type keyFilter struct{ escaped bool }

func (k *keyFilter) filter(typed []byte) (keys []byte, quit bool) {
	for _, key := range typed {
		switch {
		case !k.escaped && key == ctrlA:
			k.escaped = true
			continue
		case k.escaped && key == 'x':
			return keys, true
		case !k.escaped || key == ctrlA:
			keys = append(keys, key)
		}
		k.escaped = false
	}
	return keys, false
}
