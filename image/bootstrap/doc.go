// Package bootstrap makes a root filesystem as a directory, an archive or a filesystem image: what debootstrap,
// mmdebstrap and multistrap do. NewPlan decides what can be decided without disk and network, Check looks at the host,
// Build makes the tree.
//
// As package image does, it works in two halves: the outer one opens the target, the inner one makes the tree in
// namespaces of its own. It makes no disk, no boot loader and no account; what is in the tree is what its packages, its
// hooks and mmdebstrap's rules put there.
package bootstrap
