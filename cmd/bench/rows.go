package main

import "embed"

// comparison is a task that two tools do in turn.
type comparison struct {
	name    string // of --rows
	task    string
	target  float64 // how many times as long as ours theirs is to take; 0: no target
	ours    way
	theirs  way
	network bool // both fetch from the mirror itself, and the network's time is measured
}

// way is how a tool does a task. The scripts are sh's, which ends with the first command that fails. Their variables:
//
//	VMBUILD   the program
//	CACHE     vmbuild's cache, which has the packages
//	MIRROR    the archive, on the loopback address
//	SUITE     the release
//	VARIANT   and PACKAGES: those of vmbuild's image, as its plan has them
//	RECIPES   what other tools are told in files
//	TEMP      a directory that is the comparison's
//	OUT       a directory that is empty at the beginning of each run
//	N         the number of the run, from 0
type way struct {
	tool   string // of the table of tools
	name   string // in tables, where the tool's name says too little
	root   bool   // it takes root even where the tool does not
	before string // gets ready for each run, and is not measured
	script string
	result string // the tar archive or disk image in OUT whose packages are counted; empty: they are not
}

// label is the way's name in tables.
func (w way) label() string {
	if w.name != "" {
		return w.name
	}
	return w.tool
}

//go:embed recipes
var recipes embed.FS

// Parts of vmbuild's scripts.
const (
	forget    = `"$VMBUILD" cache prune --layers --cache-dir "$CACHE"` + "\n" // leaves packages and indexes only
	bootstrap = `TMPDIR="$TEMP" "$VMBUILD" bootstrap --cache-dir "$CACHE"`
	build     = `TMPDIR="$TEMP" "$VMBUILD" --cache-dir "$CACHE" --image "$OUT/disk.img" --size 2G --grub` +
		` --distribution "$SUITE" --mirror "$MIRROR" --security-mirror none --no-updates`
	fresh   = `"$VMBUILD" cache prune --layers --packages --cache-dir "$TEMP/cache"` + "\n" + `rm -rf "$TEMP/cache"`
	hooked  = build + ` --customize "$TEMP/hook"`
	again   = "\n" + `rm -r "$OUT"/*` // after a build that is not measured
	hook    = `printf '#!/bin/sh\necho %s >"$1/etc/motd"\n' `
	hookEnd = ` >"$TEMP/hook" && chmod +x "$TEMP/hook"` + "\n"
)

// archived ends the scripts of those that make a tar archive, filled of those that make a disk of a directory.
const (
	archived = ` "$SUITE" "$OUT/tree.tar" "deb $MIRROR $SUITE main"`
	filled   = ` "$SUITE" "$OUT/tree" "deb $MIRROR $SUITE main"` + "\n" + `mke2fs -q -t ext4 -d "$OUT/tree" "$OUT/disk.img" 2G`
)

// mmdebstrap makes its trees where vmbuild does. Those that hand TMPDIR down to programs in the tree are not told.
const mmdebstrap = `TMPDIR="$TEMP" mmdebstrap `

// withMke2fs makes a disk without partitions and boot loader, of the packages of vmbuild's image.
func withMke2fs(options string) way {
	return way{
		tool: "mmdebstrap", name: "mmdebstrap + mke2fs -d, no boot loader", root: true, result: "disk.img",
		script: mmdebstrap + `--variant="$VARIANT" ` + options + filled,
	}
}

// included are mmdebstrap's words for the packages of vmbuild's image.
const included = `--include="$PACKAGES"`

// comparisons are the rows of the benchmark. To add one, add a row here; what it needs of another tool is in the table of
// tools. `go run ./cmd/bench --quick --rows=^NAME$` tries it.
func comparisons() []comparison {
	image := way{tool: ours, before: forget, script: build, result: "disk.img"}
	important := way{tool: ours, before: forget, script: bootstrap + ` --variant=important` + archived, result: "tree.tar"}
	withHook := withMke2fs(included + ` --customize-hook="$TEMP/hook"`)
	withHook.before = hook + `"$N"` + hookEnd
	return []comparison{
		{
			name: "tree", task: "tree of priority important as tar", target: 2.5, ours: important,
			theirs: way{tool: "mmdebstrap", script: mmdebstrap + `--variant=important` + archived, result: "tree.tar"},
		},
		{
			name: "tree-debootstrap", task: "tree of priority important as tar", target: 8, ours: important,
			theirs: way{tool: "debootstrap", name: "debootstrap + tar", result: "tree.tar",
				script: `debootstrap "$SUITE" "$OUT/tree" "$MIRROR"` + "\n" +
					`tar -C "$OUT/tree" --numeric-owner --xattrs -cf "$OUT/tree.tar" .`},
		},
		{name: "image", task: "bootable image, kernel and GRUB", target: 2, ours: image, theirs: withMke2fs(included)},
		{
			name: "image-vmdb2", task: "bootable image, kernel and GRUB", target: 5, ours: image,
			theirs: way{tool: "vmdb2", result: "disk.img",
				script: `grep -q device-mapper /proc/misc || PATH="$RECIPES/standin:$PATH"` + "\n" +
					`vmdb2 --log /dev/stderr --output "$OUT/disk.img" --variable "suite=$SUITE" --variable "mirror=$MIRROR" ` +
					`"$RECIPES/vmdb2.yaml"`},
		},
		{
			name: "image-debos", task: "bootable image, kernel and GRUB", target: 5, ours: image,
			theirs: way{tool: "debos", name: "debos --disable-fakemachine", result: "disk.img",
				script: `debos --disable-fakemachine --artifactdir "$OUT" -t "suite:$SUITE" -t "mirror:$MIRROR" ` +
					`-t "packages:$PACKAGES" "$RECIPES/debos.yaml"`},
		},
		{
			name: "image-grml-debootstrap", task: "bootable image, kernel and GRUB", target: 5, ours: image,
			theirs: way{tool: "grml-debootstrap", result: "disk.img",
				script: `grml-debootstrap --force --vmfile --vmsize 2G --target "$OUT/disk.img" --release "$SUITE" ` +
					`--mirror "$MIRROR" --nopassword --hostname debian`},
		},
		{
			name: "image-mkosi", task: "bootable image, kernel and GRUB", target: 5, ours: image,
			theirs: way{tool: "mkosi", result: "disk.img",
				script: `mkosi --force --distribution debian --release "$SUITE" --mirror "$MIRROR" --format gpt_ext4 --bootable ` +
					`--root-size 1900M --password '' --workspace-dir "$TEMP" --output-dir "$OUT" --output disk.img build`},
		},
		{
			name: "again", task: "the image again, nothing changed", target: 10, theirs: withMke2fs(included),
			ours: way{tool: ours, before: build + again, script: build, result: "disk.img"},
		},
		{
			name: "package", task: "the image with one package more", target: 5, theirs: withMke2fs(`--include="$PACKAGES,tmux"`),
			ours: way{tool: ours, before: forget + build + again, script: build + ` --package tmux`, result: "disk.img"},
		},
		{
			name: "hook", task: "the image after its hook has changed", target: 8,
			ours: way{tool: ours, script: hooked, result: "disk.img",
				before: forget + hook + `before` + hookEnd + hooked + again + "\n" + hook + `"$N"` + hookEnd},
			theirs: withHook,
		},
		{
			name: "desktop", task: "tree of a desktop task as tar", target: 2,
			ours: way{tool: ours, before: forget, script: bootstrap + ` --recommends ` + desktop + archived, result: "tree.tar"},
			theirs: way{tool: "mmdebstrap", script: mmdebstrap + `--aptopt='APT::Install-Recommends "true"' ` + desktop + archived,
				before: forget, result: "tree.tar"}, // room: trees and archives of 5 GB each
		},
		{
			name: "qcow2", task: "raw image to qcow2, compressed by zlib", target: 1.5,
			ours: way{tool: ours, before: disk, script: `"$VMBUILD" convert "$TEMP/disk.img" "$OUT/disk.qcow2" --compression zlib`},
			theirs: way{tool: "qemu-img", name: "qemu-img convert -c", before: disk,
				script: `qemu-img convert -c -f raw -O qcow2 "$TEMP/disk.img" "$OUT/disk.qcow2"`},
		},
		{
			name: "cold", task: "bootable image, everything to be fetched", network: true, theirs: withMke2fs(included),
			ours: way{tool: ours, before: fresh, script: `CACHE="$TEMP/cache"` + "\n" + build, result: "disk.img"},
		},
	}
}

const (
	desktop = `--include=task-gnome-desktop`
	// disk makes the image that is converted, once.
	disk = `test -e "$TEMP/disk.img" || { ` + build + ` && mv "$OUT/disk.img" "$TEMP/disk.img"; }`
)

// size is a tree of the growth.
type size struct {
	of     string
	script string
}

// sizes are trees of more and more packages, about three times as many each. The plot has the numbers that there are.
func sizes() []size {
	return []size{
		{"essential packages", bootstrap + ` --variant=essential` + archived},
		{"priority important", bootstrap + archived},
		{"Xfce without what is recommended, and compilers",
			bootstrap + ` --include=task-xfce-desktop,build-essential` + archived},
		{"a GNOME desktop", bootstrap + ` --recommends ` + desktop + archived},
	}
}
