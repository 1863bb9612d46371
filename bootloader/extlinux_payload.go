package bootloader

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// payload is what extlinux(1) installs. No package of Debian has it as files: it is data of the program.
type payload struct {
	vbr []byte // first sector of the partition
	sys []byte // ldlinux.sys without its auxiliary data vector: whole sectors
	c32 []byte // ldlinux.c32
}

const (
	ldlinuxMagic = 0x3eb202fe
	advSectors   = 2 // two copies of the auxiliary data vector (ADV) follow ldlinux.sys in its file
)

// readPayload finds the parts in the section .data of extlinux, by what they begin with:
//
//	VBR           eb 58 90 "SYSLINUX", 512 bytes, with the magic number at 0x1f8
//	ldlinux.sys   0d 0a "SYSLINUX ", with the magic number at a multiple of 8 below 128; its length is a word in .rodata
//	ldlinux.c32   a shared object for i386, up to the end of its section headers
func readPayload(program io.ReaderAt) (*payload, error) {
	f, err := elf.NewFile(program)
	if err != nil {
		return nil, err
	}
	data, err := section(f, ".data")
	if err != nil {
		return nil, err
	}
	constants, err := section(f, ".rodata")
	if err != nil {
		return nil, err
	}
	p := &payload{}
	if p.vbr, err = findVBR(data); err != nil {
		return nil, err
	}
	if p.sys, err = findSYS(data, constants); err != nil {
		return nil, err
	}
	if p.c32, err = findC32(data); err != nil {
		return nil, err
	}
	return p, nil
}

func section(f *elf.File, name string) ([]byte, error) {
	s := f.Section(name)
	if s == nil || s.Type != elf.SHT_PROGBITS {
		return nil, fmt.Errorf("it has no section %s", name)
	}
	return s.Data()
}

func findVBR(data []byte) ([]byte, error) {
	at := bytes.Index(data, []byte("\xeb\x58\x90SYSLINUX"))
	if at < 0 || len(data) < at+sector {
		return nil, errors.New("there is no boot sector in it")
	}
	vbr := data[at : at+sector]
	if binary.LittleEndian.Uint32(vbr[0x1f8:]) != ldlinuxMagic || vbr[0x1fe] != 0x55 || vbr[0x1ff] != 0xaa {
		return nil, errors.New("its boot sector is not one of syslinux 6")
	}
	return vbr, nil
}

func findSYS(data, constants []byte) ([]byte, error) {
	at := bytes.Index(data, []byte("\r\nSYSLINUX "))
	if at < 0 {
		return nil, errors.New("there is no ldlinux.sys in it")
	}
	rest := data[at:]
	length := 0
	for i := 0; i+4 <= len(constants); i += 4 {
		n := int64(binary.LittleEndian.Uint32(constants[i:]))
		if n%sector == 0 && n > int64(length) && n <= int64(len(rest)) {
			length = int(n)
		}
	}
	if length < 2*sector {
		return nil, errors.New("it does not tell the length of its ldlinux.sys")
	}
	sys := rest[:length]
	if _, err := patchArea(sys); err != nil {
		return nil, err
	}
	return sys, nil
}

func findC32(data []byte) ([]byte, error) {
	magic := []byte("\x7fELF\x01\x01\x01")
	for at := bytes.Index(data, magic); at >= 0; {
		if c32, ok := module(data[at:]); ok {
			return c32, nil
		}
		next := bytes.Index(data[at+1:], magic)
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return nil, errors.New("there is no ldlinux.c32 in it")
}

// module gives the shared object for i386 that data begins with. The headers of its sections are its end.
func module(data []byte) ([]byte, bool) {
	if len(data) < 0x34 {
		return nil, false
	}
	le := binary.LittleEndian
	kind, machine := elf.Type(le.Uint16(data[0x10:])), elf.Machine(le.Uint16(data[0x12:]))
	end := int64(le.Uint32(data[0x20:])) + int64(le.Uint16(data[0x2e:]))*int64(le.Uint16(data[0x30:]))
	if kind != elf.ET_DYN || machine != elf.EM_386 || end < 0x34 || end > int64(len(data)) {
		return nil, false
	}
	return data[:end], true
}

// placeholder is as long as the file ldlinux.sys, and without a zero block that mke2fs would leave out.
func (p *payload) placeholder() []byte {
	return bytes.Repeat([]byte("ldlinux.sys here"), (len(p.sys)+advSectors*sector)/16)
}

// installation is where a loader lies.
type installation struct {
	sectors []int64 // of ldlinux.sys and its ADV, counted from the partition's first
	start   int64   // of the partition, in sectors
	size    int64   // of the partition, in sectors
	dir     string  // of ldlinux.sys, within its filesystem
}

// install links VBR and ldlinux.sys to their place. sys has its ADV at its end.
func (p *payload) install(i installation) (vbr, sys []byte, err error) {
	n := len(p.sys) / sector
	if len(i.sectors) != n+advSectors {
		return nil, nil, fmt.Errorf("ldlinux.sys has %d sectors instead of %d", len(i.sectors), n+advSectors)
	}
	sys = bytes.Clone(p.sys)
	area, err := patchArea(sys)
	if err != nil {
		return nil, nil, err
	}
	if vbr, err = area.linkVBR(p.vbr, i); err != nil {
		return nil, nil, err
	}
	if err := area.link(i); err != nil {
		return nil, nil, err
	}
	adv := emptyADV()
	return vbr, append(append(sys, adv...), adv...), nil
}

// patch is the patch area of an ldlinux.sys: struct patch_area of libinstaller/syslxint.h, found by its magic number.
//
//	offset  bytes  field
//	0       4      magic number
//	4       4      instance, unused
//	8       2      sectors of ldlinux.sys
//	10      2      sectors of the ADV
//	12      4      length of ldlinux.sys in words of 4 bytes
//	16      4      checksum: with it all words add up to the magic number
//	20      2      most sectors of a read
//	22      2      offset of the extended patch area
//
// The extended one (struct ext_patch_area) has 10 numbers of 2 bytes: offsets in ldlinux.sys, or, for the last three, in
// the VBR.
type patch struct {
	sys  []byte
	area int // offset of the patch area in sys
	ext  int // and of the extended one
}

// The numbers of the extended patch area.
const (
	extADV           = iota // offset of two sector numbers of 8 bytes
	extDir                  // offset of the directory's name
	extDirLength            // its room, with the zero byte at its end
	extSubvol               // for btrfs
	extSubvolLength         //
	extExtents              // offset of the pieces, {sector 8 bytes, length 2 bytes}
	extMostExtents          // how many there is room for
	extFirstLow             // offset in the VBR of the low half of the first sector's number
	extFirstHigh            // and of its high half
	extRAID                 // offset in the VBR of an instruction for RAID
	extNumbers              // how many these are
	pieceLength      = 8 + 2
	mostPieceSectors = 65536/sector - 1
)

func patchArea(sys []byte) (patch, error) {
	for at := 0; at < 128 && at+24 <= len(sys); at += 8 {
		if binary.LittleEndian.Uint32(sys[at:]) != ldlinuxMagic {
			continue
		}
		p := patch{sys: sys, area: at, ext: int(binary.LittleEndian.Uint16(sys[at+22:]))}
		return p, p.check()
	}
	return patch{}, errors.New("its ldlinux.sys has no magic number")
}

func (p patch) number(i int) int { return int(binary.LittleEndian.Uint16(p.sys[p.ext+2*i:])) }

// check demands that all offsets are within ldlinux.sys or the VBR.
func (p patch) check() error {
	if p.ext+2*extNumbers > len(p.sys) {
		return errors.New("its ldlinux.sys has no extended patch area")
	}
	for _, room := range []struct{ at, length int }{
		{p.number(extADV), 16},
		{p.number(extDir), p.number(extDirLength)},
		{p.number(extExtents), p.number(extMostExtents) * pieceLength},
	} {
		if room.at+room.length > len(p.sys) {
			return errors.New("the extended patch area of its ldlinux.sys leads outside of it")
		}
	}
	if p.number(extFirstLow)+4 > sector || p.number(extFirstHigh)+4 > sector {
		return errors.New("the extended patch area of its ldlinux.sys leads outside of the boot sector")
	}
	return nil
}

// linkVBR tells the boot sector the place of ldlinux.sys, and what the parameter block of a FAT would tell it:
//
//	offset  bytes  field
//	0x00b   2      bytes of a sector
//	0x013   2      sectors of the partition, 0 if more than 65535
//	0x018   2      sectors of a track: 63
//	0x01a   2      heads: 255
//	0x01c   4      sector of the disk where the partition starts
//	0x020   4      sectors of the partition
func (p patch) linkVBR(code []byte, i installation) ([]byte, error) {
	if i.start >= 1<<32 || i.size >= 1<<32 {
		return nil, errors.New("extlinux starts from the first 2 TiB of a disk only")
	}
	le, vbr := binary.LittleEndian, bytes.Clone(code)
	le.PutUint16(vbr[0x0b:], sector)
	le.PutUint16(vbr[0x13:], 0)
	if i.size < 1<<16 {
		le.PutUint16(vbr[0x13:], uint16(i.size))
	}
	le.PutUint16(vbr[0x18:], 63)
	le.PutUint16(vbr[0x1a:], 255)
	le.PutUint32(vbr[0x1c:], uint32(i.start))
	le.PutUint32(vbr[0x20:], uint32(i.size))
	le.PutUint32(vbr[p.number(extFirstLow):], uint32(i.sectors[0]))
	le.PutUint32(vbr[p.number(extFirstHigh):], uint32(i.sectors[0]>>32))
	return vbr, nil
}

// link tells ldlinux.sys its own place, directory and checksum.
func (p patch) link(i installation) error {
	le, n := binary.LittleEndian, len(p.sys)/sector
	if len(i.dir) >= p.number(extDirLength) {
		return fmt.Errorf("directory %s has too long a name", i.dir)
	}
	copy(p.sys[p.number(extDir):], i.dir+"\x00")
	le.PutUint16(p.sys[p.area+8:], uint16(n))
	le.PutUint16(p.sys[p.area+10:], advSectors)
	le.PutUint32(p.sys[p.area+12:], uint32(len(p.sys)/4))
	pieces := inPieces(i.sectors[1:n])
	if len(pieces) > p.number(extMostExtents) {
		return fmt.Errorf("ldlinux.sys lies in %d pieces, but only %d can be listed", len(pieces), p.number(extMostExtents))
	}
	list := p.sys[p.number(extExtents):][:p.number(extMostExtents)*pieceLength]
	clear(list)
	for k, piece := range pieces {
		le.PutUint64(list[k*pieceLength:], uint64(piece.start))
		le.PutUint16(list[k*pieceLength+8:], uint16(piece.length))
	}
	for k, s := range i.sectors[n:] {
		le.PutUint64(p.sys[p.number(extADV)+8*k:], uint64(s))
	}
	le.PutUint32(p.sys[p.area+16:], 0)
	le.PutUint32(p.sys[p.area+16:], ldlinuxMagic-sum(p.sys))
	return nil
}

// piece is a run of sectors.
type piece struct{ start, length int64 }

// inPieces gives the runs of sectors that follow each other, none of 64 KiB or more.
func inPieces(sectors []int64) []piece {
	var pieces []piece
	for _, s := range sectors {
		if last := len(pieces) - 1; last >= 0 && pieces[last].start+pieces[last].length == s && pieces[last].length < mostPieceSectors {
			pieces[last].length++
			continue
		}
		pieces = append(pieces, piece{s, 1})
	}
	return pieces
}

// emptyADV is an auxiliary data vector without data (libinstaller/setadv.c): a number, the checksum of what follows up
// to the last number, zeroes, and that number.
func emptyADV() []byte {
	le, adv := binary.LittleEndian, make([]byte, sector)
	le.PutUint32(adv, 0x5a2d2fa5)
	le.PutUint32(adv[4:], 0xa3041767)
	le.PutUint32(adv[sector-4:], 0xdd28bf64)
	return adv
}

// sum adds up the words of data.
func sum(data []byte) uint32 {
	var total uint32
	for ; len(data) >= 4; data = data[4:] {
		total += binary.LittleEndian.Uint32(data)
	}
	return total
}
