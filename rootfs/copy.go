package rootfs

import (
	"fmt"

	"vmbuild/rootfs/tree"
)

// copyTree copies the tree below from into the empty directory to: owners, modes, times, links, extended attributes.
func copyTree(from, to string) error {
	c := tree.Copier{From: from, To: to}
	err := (&tree.Tree{Dir: from}).Walk(c.Add)
	if err == nil {
		err = c.Close()
	}
	if err != nil {
		return fmt.Errorf("copy tree: %w", err)
	}
	return nil
}
