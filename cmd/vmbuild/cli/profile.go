package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"vmbuild/image/session"
)

// profileOptions are about profiles of the program's own memory.
type profileOptions struct {
	DumpMemoryProfile  string `help:"Write profiles of vmbuild's memory into the working directory, for go tool pprof: ${enum}." enum:"none,simple" default:"none" placeholder:"METHOD" group:"Program"`
	MemoryDumpInterval int    `help:"Seconds between two profiles." default:"300" placeholder:"SECONDS" group:"Program"`
}

// profile says where the two halves of the build write their profiles.
func (o profileOptions) profile() (session.Profile, error) {
	switch {
	case o.DumpMemoryProfile == "none":
		return session.Profile{}, nil
	case o.MemoryDumpInterval <= 0:
		return session.Profile{}, usageError{fmt.Errorf("--memory-dump-interval=%d: it takes a second at least", o.MemoryDumpInterval)}
	}
	dir, err := os.Getwd()
	if err != nil {
		return session.Profile{}, fmt.Errorf("--dump-memory-profile: %w", err)
	}
	prefix := filepath.Join(dir, fmt.Sprintf("vmbuild-%d", os.Getpid()))
	return session.Profile{Prefix: prefix, Every: time.Duration(o.MemoryDumpInterval) * time.Second}, nil
}
