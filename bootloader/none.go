package bootloader

import (
	"context"

	"vmbuild/partition"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/suite"
)

// none leaves starting the kernel to whoever runs the image.
type none struct{}

func (none) Name() string                                     { return "none" }
func (none) Supports(arch.Arch, suite.Suite) error            { return nil }
func (none) Packages(arch.Arch) []string                      { return nil }
func (none) Partitions(arch.Arch, string) []partition.Request { return nil }
func (none) Debconf(arch.Arch) []string                       { return nil }
func (none) Configure(context.Context, Target) error          { return nil }
