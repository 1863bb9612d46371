// Package qcow2 writes disks as qcow2 files, version 3 of QEMU's docs/interop/qcow2.txt, and reads them back.
//
// It writes one disk into one new file: 64 KiB clusters with reference counts of 16 bits, clusters of zeroes left out, and
// on request each cluster compressed. It makes no snapshots, bitmaps, encryption or backing files, and refuses to read what
// has the last two.
//
// Invariant: the same disk and options give the same bytes, however many processors are at work and wherever the disk has
// holes. Memory depends on the number of processors, and on the disk by two bytes per cluster written.
package qcow2
