package wasm

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	sectionCode      = 10
	sectionData      = 11
	sectionDataCount = 12
)

// hollow is a module as it is wanted by whoever has the compiled code, and needs nothing else of it but what it consists of: the body
// of each function is a trap, which spares the runtime to read and validate the bodies, and data that lie side by side are one piece,
// of which linkers make thousands. Both are most of the work of loading a module.
//
// Code that was compiled ahead is found by the hollow module: where this is changed, [aheadFormat] must be.
func hollow(module []byte) ([]byte, error) {
	const header = 8 // the magic number and the version
	if len(module) < header {
		return nil, invalid("the module is damaged: it ends early")
	}
	out := append(make([]byte, 0, len(module)), module[:header]...)
	d := &decoder{rest: module[header:]}
	numbered := false // its code may name pieces of data by number
	for len(d.rest) > 0 {
		id, size := d.byte(), d.number()
		body := d.bytes(size)
		if d.err != nil {
			return nil, invalid("the module is damaged: " + d.err.Error())
		}
		switch id {
		case sectionCode:
			var err error
			if body, err = traps(body); err != nil {
				return nil, err
			}
		case sectionDataCount:
			numbered = true
		case sectionData:
			if !numbered {
				body = joined(body)
			}
		}
		out = binary.AppendUvarint(append(out, id), uint64(len(body)))
		out = append(out, body...)
	}
	return out, nil
}

// traps is a code section with as many functions, none of which does anything.
func traps(code []byte) ([]byte, error) {
	d := &decoder{rest: code}
	n := d.number()
	if n > uint64(len(code)) {
		return nil, invalid(fmt.Sprintf("the module is damaged: it has %d functions in %d bytes", n, len(code)))
	}
	out := binary.AppendUvarint(nil, n)
	for range n {
		out = append(out, 3, 0, 0x00, 0x0b) // three bytes: no local variables, unreachable, end
	}
	return out, d.err
}

// joined is a data section with the same effect on an empty memory, in as few pieces as there are large gaps. One of another kind
// than linkers make stays as it is.
func joined(data []byte) []byte {
	pieces, ok := (&decoder{rest: data}).pieces()
	if !ok {
		return data
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Compare(a.start, b.start) })
	const gap = 64 // what is worth a few zeros
	var starts []uint64
	var ends []int // in memory, where the pieces lie one after the other
	memory := make([]byte, 0, 2*len(data))
	end := uint64(0)
	for _, p := range pieces {
		if p.start < end {
			return data // their order matters
		}
		if len(starts) == 0 || p.start-end > gap {
			starts, ends = append(starts, p.start), append(ends, 0)
		} else {
			memory = append(memory, make([]byte, p.start-end)...)
		}
		memory = append(memory, p.content...)
		ends[len(ends)-1] = len(memory)
		end = p.start + uint64(len(p.content))
	}
	out := binary.AppendUvarint(make([]byte, 0, len(memory)+16*len(starts)+5), uint64(len(starts)))
	from := 0
	for i, start := range starts {
		out = append(appendSigned(append(out, 0x00, 0x41), int32(start)), 0x0b) // active, i32.const, end
		out = binary.AppendUvarint(out, uint64(ends[i]-from))
		out = append(out, memory[from:ends[i]]...)
		from = ends[i]
	}
	return out
}

// piece is what is put at a place in the first memory.
type piece struct {
	start   uint64
	content []byte
}

// pieces reads a data section. It has none that code puts into memory, or into another, or where a variable says.
func (d *decoder) pieces() (all []piece, ok bool) {
	n := d.number()
	const least = 5 // bytes of a piece
	all = make([]piece, 0, min(n, uint64(len(d.rest)/least)))
	for ; n > 0; n-- {
		active, constant := d.byte(), d.byte()
		start, isWord := d.signed()
		end := d.byte()
		content := d.bytes(d.number())
		if d.err != nil || active != 0x00 || constant != 0x41 || !isWord || end != 0x0b {
			return nil, false
		}
		all = append(all, piece{uint64(uint32(start)), content})
	}
	return all, d.err == nil && len(d.rest) == 0
}

// signed reads a signed LEB128 of at most 32 bits.
func (d *decoder) signed() (value int32, ok bool) {
	var v int64
	for shift := 0; shift < 35; shift += 7 {
		b := d.byte()
		v |= int64(b&0x7f) << shift
		if b&0x80 == 0 {
			if b&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			return int32(v), v == int64(int32(v)) && d.err == nil
		}
	}
	return 0, false
}

func appendSigned(out []byte, v int32) []byte {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}
