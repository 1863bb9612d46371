// Package image is the pipeline from options to a disk image. NewPlan decides everything that can be decided without
// disk and network; Check looks at the host; Build makes the image.
//
// Build has two halves. The outer one runs as the user: it opens the outputs, starts the inner one in namespaces of its
// own (package namespace), shows what it reports, and gives the outputs their names when all of it is done. The inner
// one is root of its namespaces: it resolves, unpacks, configures, customises and writes. It has no way to leave
// anything behind: its mounts and processes end with it, its outputs have no names, and its temporary directories are
// locked by it, so that any later build recognises them as refuse.
//
// Package image knows the order of the stages and nothing of how they work.
package image
