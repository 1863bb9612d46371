package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"vmbuild/image/session"
	"vmbuild/rootfs"
	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/namespace"
)

// cacheJob is the name of the job that looks at the cache, for the files of layers belong to the ids of a build.
const cacheJob = "cache"

// cacheRequest is what is to be done with the cache; without anything it is only listed.
type cacheRequest struct {
	Prune  *layer.PruneOptions `json:"prune,omitempty"`
	Verify *verifyRequest      `json:"verify,omitempty"`
}

type verifyRequest struct {
	Remove bool `json:"remove"`
}

// cacheAnswer is what the inner half has found. It comes by way of a file: a list may be longer than a pipe.
type cacheAnswer struct {
	Entries []layer.Entry   `json:"entries"` // before anything was removed
	Pruned  *layer.Pruned   `json:"pruned,omitempty"`
	Found   []layer.Finding `json:"found,omitempty"`
}

// ListCache returns what is in the cache of the host. Where there is no cache, nothing is in it, and none is made.
func ListCache(ctx context.Context, h Host) ([]layer.Entry, error) {
	answer, err := askCache(ctx, cacheRequest{}, h)
	return answer.Entries, err
}

// PruneCache removes from the cache what the options say; what was removed before an error is in the result too.
func PruneCache(ctx context.Context, o layer.PruneOptions, h Host) (*layer.Pruned, error) {
	answer, err := askCache(ctx, cacheRequest{Prune: &o}, h)
	if answer.Pruned == nil {
		answer.Pruned = &layer.Pruned{}
	}
	return answer.Pruned, err
}

// Verified is what VerifyCache has looked at, and what of it is damaged.
type Verified struct {
	Entries []layer.Entry
	Found   []layer.Finding
}

// VerifyCache looks for damage in the cache, and removes what is damaged if remove is set.
func VerifyCache(ctx context.Context, remove bool, h Host) (*Verified, error) {
	answer, err := askCache(ctx, cacheRequest{Verify: &verifyRequest{Remove: remove}}, h)
	return &Verified{Entries: answer.Entries, Found: answer.Found}, err
}

// askCache has the inner half do something with the cache, if there is one.
func askCache(ctx context.Context, r cacheRequest, h Host) (cacheAnswer, error) {
	var answer cacheAnswer
	exists, err := layer.Exists(h.Cache)
	if !exists || err != nil {
		return answer, err
	}
	if err := namespace.Check(); err != nil {
		return answer, &MissingError{[]string{err.Error()}}
	}
	file, err := answerFile()
	if err != nil {
		return answer, err
	}
	defer file.Close()
	jobErr := h.Run(ctx, cacheJob, r, file)
	data, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<62))
	if err == nil && len(data) > 0 {
		err = json.Unmarshal(data, &answer)
	}
	if jobErr != nil {
		return answer, jobErr
	}
	if err != nil {
		return answer, fmt.Errorf("read what was found in the cache: %w", err)
	}
	return answer, nil
}

// answerFile makes a file that goes when both halves have closed it.
func answerFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("vmbuild-cache", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("look at the cache: %w", os.NewSyscallError("memfd_create", err))
	}
	return os.NewFile(uintptr(fd), "vmbuild-cache"), nil
}

// cacheInside does what the request says and writes the answer, also where not all of it could be done.
func cacheInside(ctx context.Context, s *session.Session, payload json.RawMessage, files []*os.File) error {
	var r cacheRequest
	if err := json.Unmarshal(payload, &r); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	answer, err := handleCache(ctx, s, r)
	if writeErr := json.NewEncoder(files[0]).Encode(answer); err == nil {
		err = writeErr
	}
	return err
}

func handleCache(ctx context.Context, s *session.Session, r cacheRequest) (answer cacheAnswer, err error) {
	if answer.Entries, err = s.Cache.List(ctx); err != nil {
		return answer, err
	}
	for i := range answer.Entries {
		if e := &answer.Entries[i]; e.Kind == layer.KindLayer {
			e.About = rootfs.Describe(s.Cache.Tree(e.Name))
		}
	}
	switch {
	case r.Prune != nil:
		answer.Pruned, err = s.Cache.Prune(ctx, answer.Entries, *r.Prune)
	case r.Verify != nil:
		answer.Found, err = s.Cache.Verify(ctx, answer.Entries, layer.VerifyOptions{
			Remove: r.Verify.Remove,
			Progress: func(done, total int64) {
				s.Event(rootfs.Event{Stage: "verify", Done: done, Total: total, Unit: rootfs.Bytes})
			},
		})
	}
	return answer, err
}
