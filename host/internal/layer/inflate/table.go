package inflate

import "math/bits"

// A table maps the next bits of the stream to an entry. Codes that are longer than the root's index share an entry there,
// which leads to a second table that the rest of the code is an index of.
//
// The bits of an entry:
//
//	 0 -  5  how many bits it consumes, those of the code and the extra ones that follow it
//	 8 - 11  how many of them the code has
//	12 - 13  the kind of a special entry
//	15       special: neither length, distance nor literal
//	16 - 30  the base, to which the value of the extra bits is added
//	31       a literal, which is the base
const (
	literal = 1 << 31
	special = 1 << 15
	kinds   = special | 3<<12

	second  = special | 1<<12 // the base is where the second table starts, and 8-11 the bits of its index
	end     = special | 2<<12 // of the block
	invalid = special | 3<<12
)

const (
	maxCode = 15 // bits

	lengthRoot   = 11 // bits
	distanceRoot = 9

	// A second table with an index of s bits belongs to a complete code, and so to at least s+1 symbols. For lengths
	// s ≤ 4, and for 288 symbols these tables have at most 288*16/5 entries. For distances s ≤ 6, and for 32 symbols
	// they have at most 32*64/7. A power of two lets the compiler see that a masked index is in bounds.
	lengthTable   = 4096
	distanceTable = 1024

	maxLengths   = 288
	maxDistances = 32
	endOfBlock   = 256
)

// The base values and extra bits of RFC 1951, section 3.2.5.
var (
	lengthBase = [...]uint16{
		3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
	}
	lengthExtra = [...]uint8{
		0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
	}
	distanceBase = [...]uint16{
		1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
		8193, 12289, 16385, 24577,
	}
	distanceExtra = [...]uint8{
		0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
	}
)

// lengthEntry is what a symbol of the literal and length alphabet means, but for the length of its code.
func lengthEntry(symbol int) uint32 {
	switch {
	case symbol < endOfBlock:
		return literal | uint32(symbol)<<16
	case symbol == endOfBlock:
		return end
	case symbol-257 < len(lengthBase):
		return uint32(lengthBase[symbol-257])<<16 | uint32(lengthExtra[symbol-257])
	}
	return invalid
}

func distanceEntry(symbol int) uint32 {
	if symbol < len(distanceBase) {
		return uint32(distanceBase[symbol])<<16 | uint32(distanceExtra[symbol])
	}
	return invalid
}

// plainEntry has the symbol as its base.
func plainEntry(symbol int) uint32 { return uint32(symbol) << 16 }

// withCode adds the length of the code, or of what a second table has of it.
func withCode(entry uint32, n int) uint32 { return entry + uint32(n) + uint32(n)<<8 }

// build makes the table of a canonical code, given the lengths of its codes, at most 288. It reports whether they are those
// of a prefix code that is complete; also legal is one of a single code of one bit, and one of none.
func build(table []uint32, root int, lengths []uint8, entryOf func(symbol int) uint32) bool {
	var counts [maxCode + 1]int
	for _, n := range lengths {
		counts[n&maxCode]++
	}
	used := len(lengths) - counts[0]
	var starts [maxCode + 1]int
	left := 1 // codes of the length that are free
	for n := 1; n <= maxCode; n++ {
		left = left<<1 - counts[n]
		if left < 0 {
			return false
		}
		if n < maxCode {
			starts[n+1] = starts[n] + counts[n]
		}
	}
	if left > 0 {
		if used > 1 || used != counts[1] {
			return false
		}
		for i := range table[:1<<root] {
			table[i] = invalid
		}
		if used == 0 {
			return true
		}
	}
	var sorted [maxLengths]uint16 // by length, then by number
	for symbol, n := range lengths {
		if n &= maxCode; n != 0 {
			sorted[starts[n]] = uint16(symbol)
			starts[n]++
		}
	}
	if left > 0 {
		e := withCode(entryOf(int(sorted[0])), 1)
		for i := 0; i < 1<<root; i += 2 {
			table[i] = e
		}
		return true
	}
	fillTable(table, root, &counts, sorted[:used], entryOf)
	return true
}

// fillTable fills the table of a complete code. Codes come with their first bit lowest, so that a table for codes of up to n bits,
// twice in a row, is one for those of up to n+1 bits.
func fillTable(table []uint32, root int, counts *[maxCode + 1]int, sorted []uint16, entryOf func(int) uint32) {
	code := uint32(0) // of the next symbol
	for n := 1; n <= root; n++ {
		copy(table[1<<(n-1):1<<n], table[:1<<(n-1)])
		for range counts[n] {
			table[code] = withCode(entryOf(int(sorted[0])), n)
			sorted = sorted[1:]
			code = successor(code, n)
		}
	}
	free, prefix := 1<<root, 1<<root
	var t []uint32 // the second table of the prefix
	for n := root + 1; n <= maxCode; n++ {
		for left := counts[n]; left > 0; left-- {
			if p := int(code & (1<<root - 1)); p != prefix {
				index := secondIndex(counts, n, left, root)
				prefix, t = p, table[free:free+1<<index]
				table[p] = second | uint32(free)<<16 | uint32(index)<<8 | uint32(root)
				free += 1 << index
			}
			e := withCode(entryOf(int(sorted[0])), n-root)
			sorted = sorted[1:]
			for i := int(code >> root); i < len(t); i += 1 << (n - root) {
				t[i] = e
			}
			code = successor(code, n)
		}
	}
}

// secondIndex returns how many bits it takes, after those of the root, until the codes that come next fill a table: left
// of n bits and all that are longer. They do, for the code is complete.
func secondIndex(counts *[maxCode + 1]int, n, left, root int) int {
	room := 1<<(n-root) - left
	for room > 0 && n < maxCode {
		n++
		room = room<<1 - counts[n]
	}
	return n - root
}

// successor returns the code of n bits after code, both with their first bit lowest; 0 if code is the last.
func successor(code uint32, n int) uint32 {
	ones := bits.LeadingZeros32(^(code << (32 - n)))
	if ones >= n {
		return 0
	}
	bit := uint32(1) << (n - 1 - ones)
	return code&(bit-1) | bit
}
