package ext4

import (
	"errors"
	"fmt"
	"math"
	"path"
	"time"

	"vmbuild/rootfs/tree"
)

// node is an inode in use.
type node struct {
	entry    tree.Entry
	number   uint32
	links    int64
	size     int64 // bytes
	parent   *node
	children []child // of a directory, in the order of the tree

	data       []extent // of the content, in blocks of the file; the rest are holes
	where      []extent // of the filesystem: one for each piece of data that lies in one
	starts     []int64  // in the file, of where
	branches   []branch // blocks of the tree of extents, if the inode does not hold it
	levels     int      // of blocks in that tree
	inside     []byte   // extended attributes in the inode
	outside    []attribute
	attributes int64 // block with the rest of them; 0: none
}

// child is a name in a directory.
type child struct {
	name string
	node *node
}

// kind is a type of file: as the mode of an inode has it, and in directories.
type kind struct {
	mode uint16
	name byte
}

var kinds = map[tree.Type]kind{
	tree.File:        {0x8000, 1},
	tree.Directory:   {0x4000, 2},
	tree.CharDevice:  {0x2000, 3},
	tree.BlockDevice: {0x6000, 4},
	tree.FIFO:        {0x1000, 5},
	tree.Socket:      {0xc000, 6},
	tree.Symlink:     {0xa000, 7},
}

const (
	pointerLength = 60 // bytes of an inode for where the blocks are, or a short link
	usesExtents   = 0x80000
	lostFound     = "/lost+found"
)

// number makes the nodes and gives them their numbers, in the order of the tree.
func (v *Volume) number() error {
	entries := v.options.Entries
	if len(entries) == 0 || entries[0].Path != "/" || entries[0].Type != tree.Directory {
		return errors.New("it has no root directory")
	}
	c := census{volume: v, made: map[string]*node{}, next: lostFoundNode + 1}
	if v.journal() {
		v.special.journal = v.ownFile(journalInode, v.journalSize)
	}
	if v.orphans() {
		v.special.orphans = v.ownFile(orphanInode, v.orphanSize)
		c.next = orphanInode + 1
	}
	for _, e := range entries {
		if err := c.add(e); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	if err := c.addLostFound(); err != nil {
		return err
	}
	if used, have := int64(c.next-1), v.perTable*v.count; used > have {
		return fmt.Errorf("%d files and directories need %d inodes more than the %d of %d bytes",
			len(v.inodes), used-have, have, v.options.Size)
	}
	return nil
}

// census is the numbering of the nodes.
type census struct {
	volume *Volume
	made   map[string]*node // by their paths
	next   uint32
}

// add makes the node of an entry, or gives one that is there another name.
func (c *census) add(e tree.Entry) error {
	n := c.made[e.HardLink]
	if n == nil {
		if e.HardLink != "" {
			return fmt.Errorf("it is a link to %s, which is not there", e.HardLink)
		}
		n = &node{entry: e, number: c.numberOf(e), size: e.Size}
		if err := n.settle(); err != nil {
			return err
		}
		c.volume.inodes = append(c.volume.inodes, n)
	}
	c.made[e.Path] = n
	if e.Path == "/" {
		n.parent = n
		return nil
	}
	return enter(c.made[path.Dir(e.Path)], path.Base(e.Path), n)
}

func (c *census) numberOf(e tree.Entry) uint32 {
	switch e.Path {
	case "/":
		return rootInode
	case lostFound:
		return lostFoundNode
	}
	c.next++
	return c.next - 1
}

// ownFile is a file without a name.
func (v *Volume) ownFile(number uint32, blocks int64) *node {
	n := &node{
		entry:  tree.Entry{Type: tree.File, Mode: 0o600, ModTime: v.options.Created},
		number: number, links: 1, size: blocks * blockSize,
	}
	v.inodes = append(v.inodes, n)
	return n
}

// settle gives a node what its entry alone decides.
func (n *node) settle() error {
	if _, ok := kinds[n.entry.Type]; !ok {
		return errors.New("it is of no known type")
	}
	switch n.entry.Type {
	case tree.Symlink:
		n.size = int64(len(n.entry.Target))
		if n.size >= blockSize || n.size == 0 {
			return fmt.Errorf("its target has %d bytes", n.size)
		}
	case tree.Directory:
		n.links = 2
	}
	return n.setAttributes()
}

// enter gives a node a name in a directory.
func enter(dir *node, name string, n *node) error {
	switch {
	case dir == nil || dir.entry.Type != tree.Directory:
		return errors.New("it is in no directory")
	case len(name) > 255:
		return errors.New("the name is longer than 255 bytes")
	}
	dir.children = append(dir.children, child{name, n})
	if n.entry.Type == tree.Directory {
		n.parent = dir
		dir.links++
		return nil
	}
	n.links++
	if n.links > mostLinks {
		return fmt.Errorf("it has more than %d names", mostLinks)
	}
	return nil
}

// addLostFound makes the directory for what e2fsck(8) finds, if the tree has none.
func (c *census) addLostFound() error {
	n := c.made[lostFound]
	switch {
	case n == nil:
		return c.add(tree.Entry{Path: lostFound, Type: tree.Directory, Mode: 0o700, ModTime: c.volume.options.Created})
	case !n.directory():
		return fmt.Errorf("%s: it is no directory", lostFound)
	}
	return nil
}

// putInode writes an inode:
//
//	offset  bytes  field
//	0       2      type and mode
//	2       2      owner, low half
//	4       4      bytes, low half
//	8       4      time of last access
//	12      4      of last change
//	16      4      of last modification
//	20      4      of removal, 0
//	24      2      group, low half
//	26      2      names; 1 for a directory of too many
//	28      4      sectors of 512 bytes, low half
//	32      4      flags
//	40      60     see putPointers
//	104     4      block of attributes, low half
//	108     4      bytes, high half
//	116     2      sectors, high half
//	118     2      block of attributes, high half
//	120     2, 2   owner and group, high halves
//	124     2      checksum, low half
//	128     2      bytes from here to the attributes: 32
//	130     2      checksum, high half
//	132     4      of the time of last change: nanoseconds << 2 | bits 32 and 33 of the seconds
//	136     4      of the last modification's
//	140     4      of the last access's
//	144     4, 4   time of creation, and its nanoseconds
//	160            attributes
func (v *Volume) putInode(b []byte, n *node) {
	e := n.entry
	le.PutUint16(b[0:], kinds[e.Type].mode|uint16(e.Mode))
	le.PutUint16(b[2:], uint16(e.UID))
	le.PutUint32(b[4:], uint32(n.size))
	le.PutUint16(b[24:], uint16(e.GID))
	le.PutUint16(b[26:], n.linkCount())
	le.PutUint32(b[28:], uint32(n.sectors()))
	if n.mapped() {
		le.PutUint32(b[32:], usesExtents)
	}
	n.putPointers(b[40:100])
	le.PutUint32(b[104:], uint32(n.attributes))
	le.PutUint32(b[108:], uint32(n.size>>32))
	le.PutUint16(b[116:], uint16(n.sectors()>>32))
	le.PutUint16(b[118:], uint16(n.attributes>>32))
	le.PutUint16(b[120:], uint16(e.UID>>16))
	le.PutUint16(b[122:], uint16(e.GID>>16))
	v.putTimes(b, e.ModTime)
	copy(b[160:], n.inside)
	v.signInode(b, n.number)
}

func (v *Volume) putTimes(b []byte, modified time.Time) {
	created := v.options.Created
	le.PutUint16(b[128:], 32)
	putTime(b[8:], b[140:], created)
	putTime(b[12:], b[132:], created)
	putTime(b[16:], b[136:], modified)
	putTime(b[144:], b[148:], created)
}

// putTime gives seconds and what does not fit into them. The kernel knows the time from 1901 to 2446.
func putTime(seconds, rest []byte, t time.Time) {
	s := max(math.MinInt32, min(t.Unix(), math.MinInt32+1<<34-1))
	le.PutUint32(seconds, uint32(s))
	le.PutUint32(rest, uint32(t.Nanosecond())<<2|uint32((s-int64(int32(s)))>>32)&3)
}

// signInode writes the CRC-32C of the inode's number, its generation, which is 0, and itself.
func (v *Volume) signInode(b []byte, number uint32) {
	if !v.checksums() {
		return
	}
	sum := crc(v.inodeSeed(number), b)
	le.PutUint16(b[124:], uint16(sum))
	if le.Uint16(b[128:]) >= 4 {
		le.PutUint16(b[130:], uint16(sum>>16))
	}
}

// inodeSeed is what the checksums of an inode, and of the blocks that belong to it, begin with.
func (v *Volume) inodeSeed(number uint32) uint32 {
	return crc(v.seed, le.AppendUint64(nil, uint64(number)))
}

func (n *node) linkCount() uint16 {
	if n.links > mostLinks {
		return 1
	}
	return uint16(n.links)
}

// sectors counts the blocks that belong to an inode.
func (n *node) sectors() int64 {
	blocks := int64(len(n.branches))
	for _, e := range n.where {
		blocks += e.count
	}
	if n.attributes != 0 {
		blocks++
	}
	return blocks * (blockSize / sectorSize)
}

// mapped says whether an inode leads to blocks.
func (n *node) mapped() bool {
	switch n.entry.Type {
	case tree.File, tree.Directory:
		return true
	case tree.Symlink:
		return n.size >= pointerLength
	}
	return false
}

// putPointers writes what is in the place of pointers to blocks: the root of the tree of extents, a short link, or a
// device's number in its old form of 16 bits or, in the next word, its new one of 32.
func (n *node) putPointers(b []byte) {
	e := n.entry
	switch {
	case n.mapped():
		n.putRoot(b)
	case e.Type == tree.Symlink:
		copy(b, e.Target)
	case e.Type != tree.CharDevice && e.Type != tree.BlockDevice:
	case e.Major < 256 && e.Minor < 256:
		le.PutUint32(b, e.Major<<8|e.Minor)
	default:
		le.PutUint32(b[4:], e.Minor&0xff|e.Major<<8|e.Minor&^0xff<<12)
	}
}
