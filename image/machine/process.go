package machine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"

	"vmbuild/rootfs/chroot"
)

// ErrEnded is in the error of Expect when the machine ended before the text appeared.
var ErrEnded = errors.New("the machine has ended")

// errClosed ends a machine on behalf of Close; it is no failure.
var errClosed = errors.New("closed")

// Process is a running machine. Its methods may be called from several goroutines.
type Process struct {
	Accel       Accel  // KVM or TCG
	AccelReason string // why, in words

	console *console
	keys    *os.File // what is typed on the console
	faults  *faultWatch
	kill    context.CancelCauseFunc
	done    chan struct{} // closed when QEMU has ended and everything is cleaned up
	err     error         // why it ended, valid then
	left    error         // what could not be cleaned up, valid then
}

// start is what QEMU is started with.
type start struct {
	program string
	args    []string
	binds   []chroot.Bind
	dir     string
	accel   Accel
	reason  string
	log     io.Writer
	cleanUp func() error // nil: nothing
	onKVM   func(error)  // told when KVM gave up; nil: nobody
}

// launch starts QEMU.
func launch(ctx context.Context, p Programs, s start) (*Process, error) {
	if s.accel == KVM {
		s.binds = append(s.binds, same(kvmDevice, false))
	}
	runner, leave, err := p.Enter(ctx, s.binds...)
	if err != nil {
		return nil, err
	}
	w, err := newWires()
	if err != nil {
		return nil, errors.Join(err, leave.Close())
	}
	ctx, kill := context.WithCancelCause(ctx)
	process := &Process{
		Accel:       s.accel,
		AccelReason: s.reason,
		console:     newConsole(),
		keys:        w.keys,
		faults:      &faultWatch{kill: kill},
		kill:        kill,
		done:        make(chan struct{}),
	}
	context.AfterFunc(ctx, func() { w.keys.Close() }) // who copies keys to QEMU must not wait for more
	go func() {
		process.err = process.run(ctx, runner, s, w)
		process.left = process.cleanUp(leave, s)
		kill(nil)
		close(process.done)
		process.console.end()
	}()
	return process, nil
}

// wires are the two pipes between a Process and QEMU's serial port.
type wires struct{ keysRead, keys, screen, screenWrite *os.File }

func newWires() (w wires, err error) {
	if w.keysRead, w.keys, err = os.Pipe(); err != nil {
		return w, err
	}
	if w.screen, w.screenWrite, err = os.Pipe(); err != nil {
		return w, errors.Join(err, w.keysRead.Close(), w.keys.Close())
	}
	return w, nil
}

// run runs QEMU to its end and reads the console to its last byte.
func (p *Process) run(ctx context.Context, runner chroot.Runner, s start, w wires) error {
	var reader sync.WaitGroup
	reader.Go(func() { p.console.readFrom(w.screen, cmp.Or(s.log, io.Discard)) })
	err := runner.Run(ctx, chroot.Command{
		Args: append([]string{s.program}, s.args...),
		// Where QEMU's snapshots are written to, in files without names.
		Env:    []string{"TMPDIR=" + s.dir},
		Stdin:  w.keysRead,
		Stdout: w.screenWrite,
		Stderr: p.faults,
	})
	err = p.outcome(ctx, err)
	w.keysRead.Close()
	w.screenWrite.Close()
	reader.Wait()
	w.screen.Close()
	return err
}

func (p *Process) cleanUp(leave io.Closer, s start) error {
	if fault := p.faults.fault(); fault != nil && s.onKVM != nil {
		s.onKVM(fault)
	}
	err := leave.Close()
	if s.cleanUp != nil {
		err = errors.Join(err, s.cleanUp())
	}
	return err
}

// outcome puts the end of QEMU in words: nil for a guest that powered off and for Close.
func (p *Process) outcome(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errClosed):
		return nil
	case cause != nil:
		return cause
	case err != nil:
		return fmt.Errorf("%w%s", err, indent(p.faults.last()))
	}
	return nil
}

// Expect waits until the pattern matches what the guest has printed since the last match, and returns that text up to
// and including the match. The text has neither terminal control sequences nor carriage returns. A match may be 4 KiB
// long. As text comes in pieces, $ without (?m) is the end of a piece.
//
// Errors, each with the console's last lines: ctx's, or ErrEnded and the reason of the end.
func (p *Process) Expect(ctx context.Context, pattern *regexp.Regexp) (string, error) {
	text, err := p.console.expect(ctx, pattern)
	if errors.Is(err, ErrEnded) {
		<-p.done
		if p.err != nil {
			err = fmt.Errorf("%w: %w", ErrEnded, p.err)
		}
	}
	if err != nil {
		return "", fmt.Errorf("expect %q on the console: %w%s", pattern, err, indent(p.console.lastLines()))
	}
	return text, nil
}

// Send types text on the console. A line ends with "\n".
func (p *Process) Send(text string) error {
	if _, err := io.WriteString(p.keys, text); err != nil {
		return fmt.Errorf("type %q on the console: %w", strings.TrimSpace(text), err)
	}
	return nil
}

// Wait waits for the machine to end: nil if the guest powered it off.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the machine to end: %w%s", context.Cause(ctx), indent(p.console.lastLines()))
	}
}

// Close ends the machine as if its power were cut, unless it has ended, and waits until it is gone. Its error is about
// what was left behind.
func (p *Process) Close() error {
	p.kill(errClosed)
	<-p.done
	return p.left
}

// faultWatch takes QEMU's standard error. A KVM that cannot emulate an instruction makes QEMU print that, stop the
// guest and wait for a debugger: nothing would ever happen again, so the machine is ended.
type faultWatch struct {
	kill context.CancelCauseFunc

	mu    sync.Mutex
	text  bytes.Buffer // the first 64 KiB
	found error
}

func (w *faultWatch) Write(data []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.text.Len() < 64<<10 {
		w.text.Write(data)
	}
	if w.found == nil && bytes.Contains(w.text.Bytes(), []byte("KVM internal error")) {
		w.found = fmt.Errorf("%w: %s", ErrKVM, firstLine(w.text.String(), "KVM internal error"))
		w.kill(w.found)
	}
	return len(data), nil
}

// fault returns the error of a guest that KVM gave up, wrapping ErrKVM.
func (w *faultWatch) fault() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.found
}

// last returns the last lines.
func (w *faultWatch) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return lastLines(w.text.String(), 10)
}

// firstLine returns the first line of text from a phrase on.
func firstLine(text, phrase string) string {
	_, rest, _ := strings.Cut(text, phrase)
	line, _, _ := strings.Cut(rest, "\n")
	return phrase + strings.TrimRight(line, "\r")
}
