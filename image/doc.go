// Package image is the pipeline from options to a disk image. NewPlan decides everything that can be decided without
// disk and network; Check looks at the host; Build makes the image.
//
// Build has two halves. The outer one runs as the user: it opens the outputs, starts the inner one in namespaces of its
// own (package namespace), shows what it reports, and gives the outputs their names when all of it is done. The inner
// one is root of its namespaces: it resolves, unpacks, configures, customises and writes. Its mounts and
// processes end with it however it ends, and its outputs have no names where the file system can do that. What a SIGKILL
// leaves is temporary directories; the inner one holds a lock on its own, so that a later build knows them as refuse.
//
// Package image knows the order of the stages and nothing of how they work.
package image
