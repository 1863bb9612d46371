package deb

import "errors"

// errLZMA says that LZMA2 data is damaged.
var errLZMA = errors.New("lzma2: data is corrupt")

// The names and numbers of LZMA are those of the LZMA specification of the LZMA SDK (lzma-specification.txt); LZMA2, a
// chunked form of it, is defined by its implementations only (liblzma, lzma2_decoder.c).
const (
	probInit   = 1 << 10 // probabilities have 11 bits
	probMove   = 5
	rangeTop   = 1 << 24
	maxSymbol  = 20 // bytes of input that one symbol can take, rounded up
	posStates  = 1 << 4
	maxLiteral = 1 << 4 // lc + lp is at most 4 in LZMA2
)

// decodeLZMA2 decodes a whole LZMA2 stream into out, which is the dictionary too, so nothing is copied twice. in must
// have maxSymbol bytes behind its first size, which may be anything. It returns how many bytes of in the stream has;
// out must be exactly as long as what it decodes to.
//
// It is made for speed on data that is right: the bits of literals, lengths and distances are decoded without branches,
// because no processor can predict them. Measured on Debian's packages it takes 70 % of the time of the stream decoder.
func decodeLZMA2(out, in []byte, size int, dictionary uint32) (int, error) {
	d := &lzmaDecoder{out: out, in: in, dictionary: int(dictionary)}
	needDictionary, needProperties := true, true
	for {
		if d.inPos >= size {
			return 0, errLZMA
		}
		control := in[d.inPos]
		if control == 0 {
			if d.outPos != len(out) {
				return 0, errLZMA
			}
			return d.inPos + 1, nil
		}
		if control >= 0xe0 || control == 1 {
			needDictionary, needProperties = false, true
			d.start = d.outPos
		}
		if needDictionary || size-d.inPos < 6 && control >= 0x80 || size-d.inPos < 3 {
			return 0, errLZMA
		}
		var err error
		switch {
		case control >= 0x80:
			needProperties = needProperties && control < 0xc0
			if needProperties {
				return 0, errLZMA
			}
			err = d.lzmaChunk(control, size)
		case control <= 2:
			err = d.plainChunk(size)
		default:
			err = errLZMA
		}
		if err != nil {
			return 0, err
		}
	}
}

// lzmaDecoder is what stays between chunks.
type lzmaDecoder struct {
	out        []byte
	outPos     int
	start      int // of the dictionary in out: where it was reset last
	dictionary int // size of it: the distance that no match exceeds
	in         []byte
	inPos      int

	lc, lp, pb uint
	state      uint32
	reps       [4]uint32
	probs      lzmaProbs
}

type lzmaProbs struct {
	isMatch                       [12][posStates]uint16
	isRep, isRep0, isRep1, isRep2 [12]uint16
	isRep0Long                    [12][posStates]uint16
	slots                         [4][64]uint16
	special                       [128]uint16
	align                         [16]uint16
	matchLength, repeatedLength   lengthProbs
	literals                      [maxLiteral * 0x300]uint16
}

type lengthProbs struct {
	choice, choice2 uint16
	low, mid        [posStates][8]uint16
	high            [256]uint16
}

// plainChunk copies a chunk that is not compressed: control, size-1 in 16 bits, the bytes.
func (d *lzmaDecoder) plainChunk(size int) error {
	n := int(d.in[d.inPos+1])<<8 + int(d.in[d.inPos+2]) + 1
	d.inPos += 3
	if n > size-d.inPos || n > len(d.out)-d.outPos {
		return errLZMA
	}
	copy(d.out[d.outPos:], d.in[d.inPos:d.inPos+n])
	d.inPos += n
	d.outPos += n
	return nil
}

// lzmaChunk decodes a chunk: control with the high 5 bits of the size of its output - 1, the low 16 bits, the size of
// its input - 1 in 16 bits, properties if control has bit 6, the input.
func (d *lzmaDecoder) lzmaChunk(control byte, size int) error {
	head := d.in[d.inPos : d.inPos+6]
	outSize := int(control&0x1f)<<16 + int(head[1])<<8 + int(head[2]) + 1
	inSize := int(head[3])<<8 + int(head[4]) + 1
	d.inPos += 5
	if control >= 0xc0 {
		if !d.setProperties(head[5]) {
			return errLZMA
		}
		d.inPos++
	}
	if control >= 0xa0 {
		d.reset()
	}
	if inSize < 5 || inSize > size-d.inPos || outSize > len(d.out)-d.outPos {
		return errLZMA
	}
	return d.decode(d.outPos+outSize, d.inPos+inSize)
}

func (d *lzmaDecoder) setProperties(b byte) bool {
	if b >= 9*5*5 {
		return false
	}
	d.lc, d.lp, d.pb = uint(b%9), uint(b/9%5), uint(b/9/5)
	return d.lc+d.lp <= 4
}

func (d *lzmaDecoder) reset() {
	d.state = 0
	d.reps = [4]uint32{}
	p := &d.probs
	for i := range p.isMatch {
		fill(p.isMatch[i][:])
		fill(p.isRep0Long[i][:])
	}
	for _, probs := range [][]uint16{p.isRep[:], p.isRep0[:], p.isRep1[:], p.isRep2[:], p.special[:], p.align[:]} {
		fill(probs)
	}
	for i := range p.slots {
		fill(p.slots[i][:])
	}
	for _, l := range []*lengthProbs{&p.matchLength, &p.repeatedLength} {
		l.choice, l.choice2 = probInit, probInit
		for i := range posStates {
			fill(l.low[i][:])
			fill(l.mid[i][:])
		}
		fill(l.high[:])
	}
	fill(p.literals[:0x300<<(d.lc+d.lp)])
}

func fill(probs []uint16) {
	for i := range probs {
		probs[i] = probInit
	}
}

// rangeCoder is passed and returned by value so that it stays in registers.
type rangeCoder struct {
	width, code uint32
	pos         int // in the input
}

// bit decodes one bit. mask is all ones for a 0 and zero for a 1.
func (r rangeCoder) bit(prob *uint16, in []byte) (rangeCoder, uint32) {
	if r.width < rangeTop {
		r.width <<= 8
		r.code = r.code<<8 | uint32(in[r.pos])
		r.pos++
	}
	p := uint32(*prob)
	bound := (r.width >> 11) * p
	mask := uint32((int64(r.code) - int64(bound)) >> 63)
	r.width = r.width - bound + mask&(2*bound-r.width)
	r.code -= bound &^ mask
	*prob = uint16(p - uint32(int32(p+mask&probZero)>>probMove))
	return r, mask + 1
}

// probZero makes the one formula p -= (p + x) >> probMove also that for a 0 bit, p += (2048 - p) >> probMove.
const probZero = 1<<32 - 2048 + 1<<probMove - 1

// tree decodes the bits of a symbol, the highest first; limit is 1 << their number and the length of probs.
func (r rangeCoder) tree(probs []uint16, limit uint32, in []byte) (rangeCoder, uint32) {
	width, code, pos := r.width, r.code, r.pos
	probs = probs[:limit]
	symbol := uint32(1)
	for symbol < uint32(len(probs)) {
		if width < rangeTop {
			width <<= 8
			code = code<<8 | uint32(in[pos])
			pos++
		}
		p := uint32(probs[symbol])
		bound := (width >> 11) * p
		mask := uint32((int64(code) - int64(bound)) >> 63)
		width = width - bound + mask&(2*bound-width)
		code -= bound &^ mask
		probs[symbol] = uint16(p - uint32(int32(p+mask&probZero)>>probMove))
		symbol = symbol<<1 + mask + 1
	}
	return rangeCoder{width, code, pos}, symbol - limit
}

// reverse decodes count bits, the lowest first. The first probability is that behind probs' first.
func (r rangeCoder) reverse(probs []uint16, count uint32, in []byte) (rangeCoder, uint32) {
	symbol, value := uint32(1), uint32(0)
	for i := range count {
		var bit uint32
		r, bit = r.bit(&probs[symbol], in)
		symbol = symbol<<1 + bit
		value += bit << i
	}
	return r, value
}

// matched decodes a literal that follows a match: its bits are likely to differ from those of the byte that would have
// continued the match.
func (r rangeCoder) matched(probs []uint16, match uint32, in []byte) (rangeCoder, uint32) {
	width, code, pos := r.width, r.code, r.pos
	probs = probs[:0x300]
	offset, symbol := uint32(0x100), uint32(1)
	for symbol < 0x100 {
		if width < rangeTop {
			width <<= 8
			code = code<<8 | uint32(in[pos])
			pos++
		}
		match <<= 1
		matchBit := match & offset
		index := offset + matchBit + symbol
		p := uint32(probs[index])
		bound := (width >> 11) * p
		mask := uint32((int64(code) - int64(bound)) >> 63)
		width = width - bound + mask&(2*bound-width)
		code -= bound &^ mask
		probs[index] = uint16(p - uint32(int32(p+mask&probZero)>>probMove))
		symbol = symbol<<1 + mask + 1
		offset &= matchBit ^ mask
	}
	return rangeCoder{width, code, pos}, symbol
}

// direct decodes count bits that are as likely 0 as 1.
func (r rangeCoder) direct(count uint32, in []byte) (rangeCoder, uint32) {
	value := uint32(0)
	for range count {
		if r.width < rangeTop {
			r.width <<= 8
			r.code = r.code<<8 | uint32(in[r.pos])
			r.pos++
		}
		r.width >>= 1
		r.code -= r.width
		mask := -(r.code >> 31)
		r.code += r.width & mask
		value = value<<1 + mask + 1
	}
	return r, value
}

// length decodes the length of a match.
func (r rangeCoder) length(l *lengthProbs, posState uint32, in []byte) (rangeCoder, uint32) {
	r, bit := r.bit(&l.choice, in)
	if bit == 0 {
		r, n := r.tree(l.low[posState][:], 8, in)
		return r, n + 2
	}
	r, bit = r.bit(&l.choice2, in)
	if bit == 0 {
		r, n := r.tree(l.mid[posState][:], 8, in)
		return r, n + 10
	}
	r, n := r.tree(l.high[:], 256, in)
	return r, n + 18
}

// distance decodes the distance - 1 of a match of that length.
func (r rangeCoder) distance(p *lzmaProbs, length uint32, in []byte) (rangeCoder, uint32) {
	r, slot := r.tree(p.slots[min(length-2, 3)][:], 64, in)
	if slot < 4 {
		return r, slot
	}
	count := slot>>1 - 1
	distance := (2 | slot&1) << count
	if slot < 14 {
		// The trees of the slots lie one behind the other; the first, unused probability of one is the last of the other.
		r, low := r.reverse(p.special[distance-slot:], count, in)
		return r, distance + low
	}
	r, high := r.direct(count-4, in)
	r, low := r.reverse(p.align[:], 4, in)
	return r, distance + high<<4 + low
}

// decode decodes symbols until out is filled to outEnd, for which the input must be just used up.
func (d *lzmaDecoder) decode(outEnd, inEnd int) error {
	in, out, pos := d.in, d.out, d.outPos
	p := &d.probs
	posMask, literalMask, lc := uint32(1)<<d.pb-1, uint32(1)<<d.lp-1, d.lc
	state, rep0, rep1, rep2, rep3 := d.state, d.reps[0], d.reps[1], d.reps[2], d.reps[3]

	r := rangeCoder{width: 1<<32 - 1, pos: d.inPos + 5}
	for _, b := range in[d.inPos : d.inPos+5] {
		r.code = r.code<<8 | uint32(b)
	}
	for pos < outEnd {
		if r.pos > inEnd {
			return errLZMA // so that no symbol reads more than maxSymbol behind the end
		}
		place := uint32(pos - d.start)
		posState := place & posMask
		var bit uint32
		if r, bit = r.bit(&p.isMatch[state][posState], in); bit == 0 {
			previous := uint32(0)
			if place > 0 {
				previous = uint32(out[pos-1])
			}
			literal := p.literals[0x300*((place&literalMask)<<lc+previous>>(8-lc)):]
			var symbol uint32
			if state < 7 {
				r, symbol = r.tree(literal, 0x100, in)
			} else {
				r, symbol = r.matched(literal, uint32(out[pos-int(rep0)-1]), in)
			}
			out[pos] = byte(symbol)
			pos++
			state = afterLiteral[state]
			continue
		}
		var length uint32
		if r, bit = r.bit(&p.isRep[state], in); bit == 0 {
			rep3, rep2, rep1 = rep2, rep1, rep0
			r, length = r.length(&p.matchLength, posState, in)
			r, rep0 = r.distance(p, length, in)
			state = afterMatch(state, 7)
		} else {
			short := false
			if r, bit = r.bit(&p.isRep0[state], in); bit == 0 {
				r, bit = r.bit(&p.isRep0Long[state][posState], in)
				short = bit == 0
			} else if r, bit = r.bit(&p.isRep1[state], in); bit == 0 {
				rep0, rep1 = rep1, rep0
			} else if r, bit = r.bit(&p.isRep2[state], in); bit == 0 {
				rep0, rep1, rep2 = rep2, rep0, rep1
			} else {
				rep0, rep1, rep2, rep3 = rep3, rep0, rep1, rep2
			}
			if short {
				length, state = 1, afterMatch(state, 9)
			} else {
				r, length = r.length(&p.repeatedLength, posState, in)
				state = afterMatch(state, 8)
			}
		}
		distance, n := int(rep0)+1, int(length)
		if distance > pos-d.start || distance > d.dictionary || n > outEnd-pos {
			return errLZMA
		}
		if distance >= n {
			copy(out[pos:pos+n], out[pos-distance:])
		} else {
			for i := pos; i < pos+n; i++ {
				out[i] = out[i-distance]
			}
		}
		pos += n
	}
	if r.width < rangeTop && r.pos < inEnd {
		r.code = r.code<<8 | uint32(in[r.pos])
		r.pos++
	}
	if r.pos != inEnd || r.code != 0 {
		return errLZMA
	}
	d.outPos, d.inPos, d.state, d.reps = pos, inEnd, state, [4]uint32{rep0, rep1, rep2, rep3}
	return nil
}

// afterLiteral is the state that follows each one when a literal was decoded.
var afterLiteral = [12]uint32{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5}

// afterMatch is the state that follows a match, a repeated match or a short one: 7, 8 or 9 when a literal came before
// it; else 10 after a match and 11 after a repeated one.
func afterMatch(state, kind uint32) uint32 {
	if state < 7 {
		return kind
	}
	return min(kind+3, 11)
}
