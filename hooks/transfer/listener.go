package transfer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// serve answers requests until there are no more.
func serve(conn io.ReadWriter) {
	for {
		word, payload, err := receive(conn)
		if err != nil || word == wordEnd {
			return
		}
		if word == wordError {
			continue // mmdebstrap's helper says so also when it has asked for nothing
		}
		x := &exchange{conn: conn, request: word, path: string(payload)}
		_ = x.answer() // the side inside has heard of an error
	}
}

func (x *exchange) answer() error {
	switch x.request {
	case requestRead:
		return x.sendFile()
	case requestWrite:
		return x.receiveFile()
	case requestPack:
		dir, name := filepath.Split(strings.TrimRight(x.path, "/"))
		if name == "" || name == "." || name == ".." { // they name no entry of a directory
			return x.sendArchive(x.path+"/.", ".")
		}
		return x.sendArchive(dir+name, name)
	case requestPackContent:
		return x.sendArchive(x.path+"/.", ".")
	case requestUnpack:
		return x.receiveArchive()
	}
	return x.tell(fmt.Errorf("unknown request %q", x.request))
}

func (x *exchange) sendFile() error {
	in, err := os.Open(x.path)
	if err != nil {
		return x.tell(err)
	}
	defer in.Close()
	if err := send(x.conn, wordOK, nil); err != nil {
		return err
	}
	return x.give(func(out io.Writer) error {
		_, err := io.Copy(out, in)
		return err
	})
}

func (x *exchange) receiveFile() error {
	if err := os.MkdirAll(filepath.Dir(x.path), 0o777); err != nil {
		return x.tell(err)
	}
	out, err := os.Create(x.path)
	if err != nil {
		return x.tell(err)
	}
	defer out.Close()
	if err := send(x.conn, wordOK, nil); err != nil {
		return err
	}
	return x.take(func(in io.Reader) error {
		_, err := io.Copy(out, in)
		return errors.Join(err, out.Close())
	})
}

func (x *exchange) sendArchive(path, name string) error {
	if _, err := os.Stat(path); err != nil {
		return x.tell(err)
	}
	if err := send(x.conn, wordOK, nil); err != nil {
		return err
	}
	return x.give(func(out io.Writer) error { return pack(out, path, name) })
}

func (x *exchange) receiveArchive() error {
	if err := os.MkdirAll(x.path, 0o777); err != nil {
		return x.tell(err)
	}
	p, err := openBelow(x.path)
	if err != nil {
		return x.tell(err)
	}
	defer p.root.Close()
	if err := send(x.conn, wordOK, nil); err != nil {
		return err
	}
	return x.take(func(in io.Reader) error { return unpack(in, p) })
}
