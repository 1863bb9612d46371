package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"vmbuild/image/machine"
	"vmbuild/image/session"
	"vmbuild/rootfs"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/suite"
)

// RunOptions says which image is started, and whether somebody sits at its console or only waits for a text on it.
type RunOptions struct {
	Image     string            `json:"image"`
	Arch      string            `json:"arch,omitempty"`  // empty: the board's, or the host's
	Board     string            `json:"board,omitempty"` // empty: a machine that only QEMU has
	Firmware  machine.Firmware  `json:"firmware"`
	Accel     machine.Accel     `json:"accel"`
	MemoryMiB int               `json:"memory,omitempty"` // 0: see machine.Machine
	CPUs      int               `json:"cpus,omitempty"`
	Snapshot  bool              `json:"snapshot"`
	Forward   []machine.Forward `json:"forward,omitempty"`

	FirmwareDir string `json:"firmwareDir,omitempty"` // has UEFI firmware, see machine.Machine

	Expect  string        `json:"expect,omitempty"` // regular expression; empty: the console is the terminal's
	Timeout time.Duration `json:"timeout,omitempty"`

	Mirror           string `json:"mirror,omitempty"` // for the tools tree
	IgnoreValidUntil bool   `json:"ignoreValidUntil,omitempty"`
}

// Run starts an image in QEMU on the console in and out. QEMU and its firmware are the host's, or else those of a tools
// tree. Run returns when the machine has ended; with Expect as soon as the text appeared, or when it cannot any more.
func Run(ctx context.Context, o RunOptions, in, out *os.File, h Host) error {
	m, err := o.machine(out, h.Cache)
	if err != nil {
		return err
	}
	if m, err = m.Complete(); err != nil {
		return err
	}
	var missing *machine.MissingError
	err = machine.Host{}.Check(m)
	switch {
	case err == nil:
		return o.run(ctx, m, machine.Host{}, in)
	case !errors.As(err, &missing):
		return err
	}
	if err := namespace.Check(); err != nil {
		return &MissingError{[]string{fmt.Sprintf("%v; it can be fetched, but %v", missing, err)}}
	}
	return h.Run(ctx, runJob, o, in, out)
}

func (o RunOptions) machine(out io.Writer, cache string) (machine.Machine, error) {
	var a arch.Arch
	if o.Arch != "" {
		var err error
		if a, err = arch.Lookup(o.Arch); err != nil {
			return machine.Machine{}, err
		}
	}
	return machine.Machine{
		Image: o.Image, Arch: a, Board: o.Board, Firmware: o.Firmware, Accel: o.Accel, MemoryMiB: o.MemoryMiB, CPUs: o.CPUs,
		Snapshot: o.Snapshot, Forward: o.Forward, Log: out, CacheDir: cache, FirmwareDir: o.FirmwareDir,
	}, nil
}

// run starts the machine and stays with it.
func (o RunOptions) run(ctx context.Context, m machine.Machine, p machine.Programs, in *os.File) (err error) {
	var pattern *regexp.Regexp
	if o.Expect != "" {
		if pattern, err = regexp.Compile(o.Expect); err != nil {
			return fmt.Errorf("read the text to expect: %w", err)
		}
	}
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("the time of %v is over", o.Timeout))
		defer cancel()
	}
	process, err := m.Start(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, process.Close()) }()
	if pattern == nil {
		return process.Interact(ctx, in)
	}
	_, err = process.Expect(ctx, pattern)
	return err
}

// runInside is run where QEMU comes from a tools tree.
func runInside(ctx context.Context, s *session.Session, payload json.RawMessage, files []*os.File) error {
	var o RunOptions
	if err := json.Unmarshal(payload, &o); err != nil {
		return fmt.Errorf("read the options: %w", err)
	}
	in, out := files[0], files[1]
	m, err := o.machine(out, s.Place.Cache)
	if err != nil {
		return err
	}
	m.Dir = s.Work
	if m, err = m.Complete(); err != nil {
		return err
	}
	spec := rootfs.Spec{Suite: suite.Default, Mirror: o.Mirror, IgnoreValidUntil: o.IgnoreValidUntil}
	tools, err := s.Roots.Tools(ctx, spec, m.Packages())
	if err != nil {
		return err
	}
	if err := s.Send(rootfs.Event{}); err != nil { // the terminal is the machine's from now on
		return err
	}
	return o.run(ctx, m, machine.Tree{Toolbox: tools, Dir: tools.Dir}, in)
}
