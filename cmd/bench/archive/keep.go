package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/singleflight"

	"vmbuild/rootfs/mirror"
)

// Kept are archives' files on disk, each fetched when it is first asked for. What never changes, by its path, is kept from
// run to run in Dir; the rest until Close, so that all who ask get the archives of one moment.
type Kept struct {
	from    mirror.Mirrors
	lasting string // directory of what never changes
	passing string // directory of the rest

	fetches singleflight.Group
	mu      sync.Mutex
	absent  map[string]int // by address: the status of answers that have no file
}

// Keep opens the files kept in a directory, which it makes if there is none.
func Keep(from mirror.Mirrors, dir string) (*Kept, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("keep archives: %w", err)
	}
	passing, err := os.MkdirTemp(dir, "now-")
	if err != nil {
		return nil, fmt.Errorf("keep archives: %w", err)
	}
	return &Kept{from: from, lasting: dir, passing: passing, absent: map[string]int{}}, nil
}

// Close removes what may change in the archives.
func (k *Kept) Close() error { return os.RemoveAll(k.passing) }

func (k *Kept) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from := upstream(k.from, r)
	if from == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	address := from.String()
	path, err := k.file(address)
	if err != nil {
		http.Error(w, err.Error(), statusOf(err))
		return
	}
	http.ServeFile(w, r, path)
}

// file returns the path of the file at an address, which it fetches if that has not been done. Those who ask at the same
// time share the fetch; that the first of them goes away breaks nothing off.
func (k *Kept) file(address string) (string, error) {
	dir := k.passing
	if strings.Contains(address, "/pool/") || strings.Contains(address, "/by-hash/") {
		dir = k.lasting
	}
	name := sha256.Sum256([]byte(address))
	path := filepath.Join(dir, hex.EncodeToString(name[:]))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	_, err, _ := k.fetches.Do(path, func() (any, error) { return nil, k.fetch(address, path) })
	return path, err
}

// statusError is an answer that has no file.
type statusError int

func (e statusError) Error() string { return strconv.Itoa(int(e)) + " " + http.StatusText(int(e)) }

func statusOf(err error) int {
	var status statusError
	if errors.As(err, &status) {
		return int(status)
	}
	return http.StatusBadGateway
}

// fetch writes what is at an address to a file, whole or not at all.
func (k *Kept) fetch(address, path string) (err error) {
	if status := k.absence(address); status != 0 {
		return statusError(status)
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		k.remember(address, answer.StatusCode)
		return fmt.Errorf("fetch %s: %w", address, statusError(answer.StatusCode))
	}
	f, err := os.CreateTemp(k.passing, "part-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = io.Copy(f, answer.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("fetch %s: %w", address, err)
	}
	return os.Rename(f.Name(), path)
}

func (k *Kept) absence(address string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.absent[address]
}

// remember keeps that there is no file; a mirror that is out of order may have it the next time.
func (k *Kept) remember(address string, status int) {
	if status != http.StatusNotFound && status != http.StatusGone {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.absent[address] = status
}
