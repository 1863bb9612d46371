package transfer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// A message of mmdebstrap's hook protocol (functions hookhelper and hooklistener of mmdebstrap):
//
//	length of the payload   uint16, big endian   2 bytes
//	word                                         5 bytes
//	payload                                      at most 65535 bytes
//
// The side inside begins by one of the requests, whose payload is a path outside. The other side answers each message by
// "okthx". Then content goes in the direction that the request asks for: "write" messages and one "close", each answered
// by "okthx". Whoever has to say something may say "error" instead, which ends the exchange; its payload, which
// mmdebstrap does not have, tells the reason.
const (
	headerSize = 2 + wordSize
	wordSize   = 5
	maxPayload = math.MaxUint16
	chunk      = 60 << 10 // bytes of content in a message

	requestRead        = "openr" // send a file
	requestWrite       = "openw" // receive a file
	requestPack        = "mktar" // send an archive of a path
	requestPackContent = "mktac" // send an archive of what is in a directory
	requestUnpack      = "untar" // receive an archive

	wordOK    = "okthx"
	wordWrite = "write"
	wordClose = "close"
	wordError = "error"
	wordEnd   = "adios" // no more requests
)

func send(w io.Writer, word string, payload []byte) error {
	if len(payload) > maxPayload {
		return fmt.Errorf("message of %d bytes: no more than %d fit", len(payload), maxPayload)
	}
	m := binary.BigEndian.AppendUint16(make([]byte, 0, headerSize+len(payload)), uint16(len(payload)))
	_, err := w.Write(append(append(m, word...), payload...))
	return err
}

func receive(r io.Reader) (word string, payload []byte, err error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return "", nil, err
	}
	payload = make([]byte, binary.BigEndian.Uint16(header[:2]))
	if _, err := io.ReadFull(r, payload); err != nil {
		return "", nil, io.ErrUnexpectedEOF
	}
	return string(header[2:]), payload, nil
}

// exchange is one request and its content, on either side.
type exchange struct {
	conn    io.ReadWriter
	request string
	path    string // outside
	over    bool   // the other side is gone, or knows of the error
}

// get asks for content and hands it to use.
func (x *exchange) get(use func(io.Reader) error) error {
	if err := x.ask(x.request, []byte(x.path)); err != nil {
		return err
	}
	return x.take(use)
}

// put announces content and has it made.
func (x *exchange) put(fill func(io.Writer) error) error {
	if err := x.ask(x.request, []byte(x.path)); err != nil {
		return err
	}
	return x.give(fill)
}

// ask sends a message and waits for "okthx".
func (x *exchange) ask(word string, payload []byte) error {
	if err := send(x.conn, word, payload); err != nil {
		return x.lost(err)
	}
	answer, payload, err := receive(x.conn)
	switch {
	case err != nil:
		return x.lost(err)
	case answer == wordError:
		return x.refused(payload)
	case answer != wordOK:
		return fmt.Errorf("the answer to %q is %q", word, answer)
	}
	return nil
}

func (x *exchange) lost(err error) error {
	x.over = true
	if errors.Is(err, io.EOF) {
		return errors.New("the other side of the hook's socket is gone")
	}
	return fmt.Errorf("use the hook's socket: %w", err)
}

func (x *exchange) refused(reason []byte) error {
	x.over = true
	if len(reason) == 0 {
		return errors.New("the other side of the hook's socket could not do it")
	}
	return errors.New(string(reason))
}

// tell lets the other side know of an error, unless it does.
func (x *exchange) tell(err error) error {
	if x.over {
		return err
	}
	x.over = true
	reason := err.Error()
	_ = send(x.conn, wordError, []byte(reason[:min(len(reason), maxPayload)])) // if that fails, err is the better one
	return err
}

// give sends what fill writes.
func (x *exchange) give(fill func(io.Writer) error) error {
	out := bufio.NewWriterSize(giver{x}, chunk)
	err := fill(out)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = x.ask(wordClose, nil)
	}
	if err != nil {
		return x.tell(err)
	}
	return nil
}

type giver struct{ x *exchange }

func (g giver) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		part := p[n:min(len(p), n+chunk)]
		if err := g.x.ask(wordWrite, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// take hands to use what the other side gives, and answers the last message only when use is done: what the other side
// knows to be done is done.
func (x *exchange) take(use func(io.Reader) error) error {
	in := &taker{x: x}
	err := use(in)
	if err == nil {
		_, err = io.Copy(io.Discard, in) // an archive may end before its file does
	}
	if err == nil {
		err = send(x.conn, wordOK, nil)
	}
	if err != nil {
		return x.tell(err)
	}
	return nil
}

// taker owes an answer for the message that it has got last.
type taker struct {
	x       *exchange
	content []byte
	owes    bool
	closed  bool
}

func (t *taker) Read(p []byte) (int, error) {
	for len(t.content) == 0 {
		if t.closed {
			return 0, io.EOF
		}
		if err := t.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.content)
	t.content = t.content[n:]
	return n, nil
}

func (t *taker) next() error {
	if t.owes {
		if err := send(t.x.conn, wordOK, nil); err != nil {
			return t.x.lost(err)
		}
	}
	word, payload, err := receive(t.x.conn)
	if err != nil {
		return t.x.lost(err)
	}
	t.owes = true
	switch word {
	case wordWrite:
		t.content = payload
	case wordClose:
		t.closed = true
	case wordError:
		return t.x.refused(payload)
	default:
		return fmt.Errorf("the other side of the hook's socket says %q, not %q", word, wordWrite)
	}
	return nil
}

// pair makes the two ends of a connection. The first one does not block, so that closing it ends who reads from it; the
// second one does, as programs expect of what they inherit.
func pair() (end, conn *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "hooks"), os.NewFile(uintptr(fds[1]), "hooks"), nil
}

// shutdown wakes whoever reads from the connection, at both ends.
func shutdown(conn *os.File) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
}
