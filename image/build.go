package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"vmbuild/image/output"
	"vmbuild/rootfs"
	"vmbuild/rootfs/namespace"
)

// Host is where a build runs and whom it tells.
type Host struct {
	Cache string             // directory of the cache
	Temp  string             // directory for work that does not outlive the build
	Log   *os.File           // structured log; nil: none
	Event func(rootfs.Event) // called from one goroutine at a time; nil: nobody listens
}

// Result is what a build has made.
type Result struct {
	Outputs []Output
}

// Output is one file of a Result.
type Output struct {
	Path string
	Size int64 // bytes, holes included
}

// job is what the outer half tells the inner one. Its files follow in the order of the constants below.
type job struct {
	Plan  *Plan  `json:"plan"`
	Cache string `json:"cache"`
	Temp  string `json:"temp"`
	Log   bool   `json:"log"`
}

const (
	diskFile = iota
	logFile
)

// Names of the jobs that the inner half knows.
const (
	buildJob = "build"
	sweepJob = "sweep"
)

// grace is how long clean-up may take after a build was cancelled.
const grace = 30 * time.Second

// Build makes the image of the plan. On failure no output path exists that did not exist before, and an old file there
// is untouched. A cancelled context stops it at once.
func Build(ctx context.Context, p *Plan, h Host) (*Result, error) {
	if err := Check(p, h); err != nil {
		return nil, err
	}
	disk, err := output.Create(p.Image)
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	if err := startInside(ctx, p, h, disk); err != nil {
		return nil, errors.Join(err, cleanedUp(sweep(ctx, h)))
	}
	if err := disk.Sync(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := disk.Commit(); err != nil {
		return nil, err
	}
	return &Result{Outputs: []Output{{Path: p.Image, Size: p.Layout.Size}}}, nil
}

// LeftoverError says that something of a failed build could not be removed.
type LeftoverError struct{ Err error }

func (e *LeftoverError) Error() string { return "clean up: " + e.Err.Error() }
func (e *LeftoverError) Unwrap() error { return e.Err }

func cleanedUp(err error) error {
	if err == nil {
		return nil
	}
	return &LeftoverError{err}
}

// startInside runs the inner half to its end.
func startInside(ctx context.Context, p *Plan, h Host, disk *output.File) error {
	files := []*os.File{diskFile: disk.File}
	if h.Log != nil {
		files = append(files, h.Log)
	}
	payload, err := newJob(p, h)
	if err != nil {
		return err
	}
	return namespace.Run(ctx, namespace.Job{
		Name:    buildJob,
		Payload: payload,
		Files:   files,
		Message: func(m json.RawMessage) {
			var e rootfs.Event
			if h.Event != nil && json.Unmarshal(m, &e) == nil {
				h.Event(e)
			}
		},
	})
}

func newJob(p *Plan, h Host) (job, error) {
	j := job{Plan: p, Log: h.Log != nil}
	for _, dir := range []struct {
		to   *string
		from string
	}{{&j.Cache, h.Cache}, {&j.Temp, h.Temp}} {
		abs, err := filepath.Abs(dir.from)
		if err != nil {
			return job{}, fmt.Errorf("find directory %q: %w", dir.from, err)
		}
		*dir.to = abs
	}
	return j, nil
}

// sweep removes what an inner half left in its temporary directories when it could not do that itself. Files there may
// belong to subordinate ids, so that it takes the build's namespaces to remove them.
func sweep(ctx context.Context, h Host) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	payload, err := newJob(nil, h)
	if err != nil {
		return err
	}
	payload.Log = false
	return namespace.Run(ctx, namespace.Job{Name: sweepJob, Payload: payload})
}
