package filesystem

import "fmt"

const sectorSize = 512

// geometry is where things lie on a FAT volume, in sectors, as Microsoft's "FAT32 File System Specification" (fatgen103,
// version 1.03) has it. The number of clusters, and nothing else, makes a volume FAT12, FAT16 or FAT32.
type geometry struct {
	bits        int   // of an entry of the allocation table: 12, 16, 32
	sectors     int64 // of the volume
	reserved    int64 // before the first allocation table
	table       int64 // of one allocation table; there are two
	rootEntries int64 // of the fixed root directory; 0 on FAT32, whose root is a chain of clusters
	perCluster  int64
	clusters    int64 // that hold data, numbered from 2
}

// kinds are tried in turn. The bounds keep 16 clusters away from the limits 4085 and 65525, as the specification
// advises, because implementations are off by some.
var kinds = []struct {
	bits         int
	reserved     int64
	least, below int64 // clusters: least <= n < below
}{
	{32, 32, 65525 + 16, 1<<28 - 16},
	{16, 1, 4085 + 16, 65525 - 16},
	{12, 1, 1, 4085 - 16},
}

// newGeometry lays out a volume of so many bytes: FAT32 wherever it is allowed (from 33 MiB on), since that is what UEFI
// asks of a system partition. rootEntries is what a fixed root directory must hold at least.
func newGeometry(size, rootEntries int64) (geometry, error) {
	sectors := size / sectorSize
	if sectors >= 1<<32 {
		return geometry{}, fmt.Errorf("%d bytes are more than the 2 TiB that a FAT volume can have", size)
	}
	for _, kind := range kinds {
		g := geometry{bits: kind.bits, sectors: sectors, reserved: kind.reserved}
		if g.bits != 32 {
			g.rootEntries = roundUp(max(rootEntries, 512), 16)
		}
		for g.perCluster = g.smallestCluster(); g.perCluster <= 64; g.perCluster *= 2 {
			g.divide()
			if kind.least <= g.clusters && g.clusters < kind.below {
				return g, nil
			}
		}
	}
	return geometry{}, fmt.Errorf("%d bytes are too few for a FAT volume", size)
}

// smallestCluster gives the sectors of a cluster: for FAT32 Microsoft's table for its format command, otherwise the
// smallest that there is.
func (g geometry) smallestCluster() int64 {
	switch {
	case g.bits != 32 || g.sectors <= 532480: // 260 MiB
		return 1
	case g.sectors <= 16777216: // 8 GiB
		return 8
	case g.sectors <= 33554432:
		return 16
	case g.sectors <= 67108864:
		return 32
	}
	return 64
}

// divide sets the size of the allocation tables and what they leave for clusters. The tables are sized for the clusters
// that there would be without them, so they can be larger than needed by some sectors but never too small.
func (g *geometry) divide() {
	g.table = 0
	most := (g.sectors - g.data()) / g.perCluster
	g.table = ceil((most+2)*int64(g.bits), sectorSize*8)
	g.clusters = (g.sectors - g.data()) / g.perCluster
}

// rootSectors is the size of the fixed root directory.
func (g geometry) rootSectors() int64 { return g.rootEntries * entrySize / sectorSize }

// root is the first sector of the fixed root directory.
func (g geometry) root() int64 { return g.reserved + 2*g.table }

// data is the first sector of cluster 2.
func (g geometry) data() int64 { return g.root() + g.rootSectors() }

// clusterSize is in bytes.
func (g geometry) clusterSize() int64 { return g.perCluster * sectorSize }

// byteOf is where a cluster begins.
func (g geometry) byteOf(cluster int64) int64 {
	return g.data()*sectorSize + (cluster-2)*g.clusterSize()
}

// mbrFAT gives the type that names the width of the table and asks for LBA, which boot ROMs compare with the volume
// (AM335x reference manual, 26.1.7.5.7).
func mbrFAT(size int64) byte {
	g, err := newGeometry(size, 0)
	switch {
	case err != nil || g.bits == 32:
		return 0x0c
	case g.bits == 16:
		return 0x0e
	}
	return 0x01
}

func ceil(a, b int64) int64    { return (a + b - 1) / b }
func roundUp(a, b int64) int64 { return ceil(a, b) * b }
