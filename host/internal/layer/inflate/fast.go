package inflate

import "encoding/binary"

const (
	// fastInput is how many bytes one turn of the fast loop may look at: twice it takes up to seven and looks at eight.
	fastInput = 16

	lengthMask   = 1<<lengthRoot - 1
	distanceMask = 1<<distanceRoot - 1
)

// fast decodes while there is enough input and room for a turn of its loop without looking. bits and count must be settled
// after it.
func (d *decoder) fast() error {
	in := d.in.buf[:d.in.end]
	out := d.out[d.first:]
	lengths, distances := &d.lengths, &d.distances
	bits, count := d.in.bits, d.in.count // only the lowest six bits of count count
	next, pos := d.in.next, d.pos-d.first
	lastInput, lastOutput := len(in)-fastInput, len(out)-slack
	reason := ""
loop:
	for next <= lastInput && pos < lastOutput {
		bits |= binary.LittleEndian.Uint64(in[next:]) << (count & 63)
		next += int(^count & 63 >> 3)
		count |= 56
		// The root's literals take up to 11 bits, so that 23 are left after three, for a length or literal of up to 20.
		e := lengths[bits&lengthMask]
		for n := 0; e&literal != 0; n++ {
			bits >>= e & 63
			count -= uint64(e)
			out[pos] = byte(e >> 16)
			pos++
			if n == 3 {
				continue loop
			}
			e = lengths[bits&lengthMask]
		}
		if e&special != 0 {
			if e&kinds == second {
				bits >>= lengthRoot
				count -= lengthRoot
				e = lengths[(uint64(e>>16)+bits&(1<<(e>>8&15)-1))%lengthTable]
			}
			switch {
			case e&literal != 0:
				bits >>= e & 63
				count -= uint64(e)
				out[pos] = byte(e >> 16)
				pos++
				continue
			case e&kinds == end:
				bits >>= e & 63
				count -= uint64(e)
				d.endBlock()
				break loop
			case e&kinds == invalid:
				reason = badCode
				break loop
			}
		}
		length := int(e>>16) + int(bits&(1<<(e&63)-1)>>(e>>8&15))
		bits >>= e & 63
		count -= uint64(e)

		bits |= binary.LittleEndian.Uint64(in[next:]) << (count & 63)
		next += int(^count & 63 >> 3)
		count |= 56
		e = distances[bits&distanceMask]
		if e&special != 0 {
			if e&kinds == second {
				bits >>= distanceRoot
				count -= distanceRoot
				e = distances[(uint64(e>>16)+bits&(1<<(e>>8&15)-1))%distanceTable]
			}
			if e&kinds == invalid {
				reason = badCode
				break loop
			}
		}
		distance := int(e>>16) + int(bits&(1<<(e&63)-1)>>(e>>8&15))
		bits >>= e & 63
		count -= uint64(e)
		if distance > pos {
			reason = tooFar
			break loop
		}
		from, stop := pos-distance, pos+length
		if distance < 16 {
			near(out, pos, distance, stop)
			pos = stop
			continue
		}
		for ; pos < stop; pos += 16 {
			*(*[16]byte)(out[pos:]) = *(*[16]byte)(out[from:])
			from += 16
		}
		pos = stop
	}
	d.in.bits, d.in.count = bits, count&63
	d.in.next, d.pos = next, pos+d.first
	if reason != "" {
		d.in.settle()
		return d.in.corrupt(reason)
	}
	return nil
}

// near copies a match whose distance is less than 16, up to seven bytes too far.
func near(out []byte, pos, distance, stop int) {
	from := pos - distance
	switch {
	case distance >= 8:
		for ; pos < stop; pos += 8 {
			binary.LittleEndian.PutUint64(out[pos:], binary.LittleEndian.Uint64(out[from:]))
			from += 8
		}
	case distance == 1:
		v := uint64(out[from]) * 0x0101010101010101
		for ; pos < stop; pos += 8 {
			binary.LittleEndian.PutUint64(out[pos:], v)
		}
	default:
		for ; pos < stop; pos++ {
			out[pos] = out[from]
			from++
		}
	}
}
