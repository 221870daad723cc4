package inflate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	inputSize = 128 << 10
	// giveBack is how many bytes before the next one stay in the buffer, because input.bits may hold them.
	giveBack = 8
	// maxEmptyReads is how often a source may return neither bytes nor an error.
	maxEmptyReads = 100
)

// input is the compressed stream, bit by bit from the lowest of each byte.
type input struct {
	src  io.Reader
	err  error // why there is nothing more to be had of src
	buf  [inputSize]byte
	next int
	end  int
	done int64 // how many bytes came before buf
	// bits holds the next count bits. What is above them is nothing or the bits of buf[next:].
	bits  uint64
	count uint64
}

// fill reads on until at least least bytes are in the buffer, unless the source ends before.
func (in *input) fill(least int) {
	if in.end-in.next >= least || in.err != nil {
		return
	}
	kept := max(0, in.next-giveBack)
	in.end = copy(in.buf[:], in.buf[kept:in.end])
	in.next -= kept
	in.done += int64(kept)
	for empty := 0; in.end-in.next < least && in.err == nil; {
		n, err := in.src.Read(in.buf[in.end:])
		in.end += n
		in.err = err
		switch {
		case n > 0:
			empty = 0
		case empty == maxEmptyReads && err == nil:
			in.err = io.ErrNoProgress
		default:
			empty++
		}
	}
}

// top puts as many whole bytes as there is room for into bits.
func (in *input) top() {
	in.fill(giveBack)
	for in.count <= 56 && in.next < in.end {
		in.bits |= uint64(in.buf[in.next]) << in.count
		in.next++
		in.count += 8
	}
}

// settle gives the whole bytes in bits back to the buffer.
func (in *input) settle() {
	in.next -= int(in.count >> 3)
	in.count &= 7
	in.bits &= 1<<in.count - 1
}

// take consumes up to 32 bits.
func (in *input) take(n uint64) (uint64, error) {
	if in.count < n {
		if in.top(); in.count < n {
			return 0, in.cutOff()
		}
	}
	v := in.bits & (1<<n - 1)
	in.drop(n)
	return v, nil
}

func (in *input) drop(n uint64) {
	in.bits >>= n
	in.count -= n
}

// value consumes what e says, whose bits must be there, and returns its value.
func (in *input) value(e uint32) int {
	n, code := uint64(e&63), uint64(e>>8&15)
	extra := in.bits & (1<<n - 1) >> code
	in.drop(n)
	return int(e>>16) + int(extra)
}

// bytes returns the next n bytes, at most inputSize-giveBack, which are good until the next call. bits must be settled,
// and those of a byte that is begun are dropped.
func (in *input) bytes(n int) ([]byte, error) {
	in.drop(in.count)
	in.fill(n)
	if in.end-in.next < n {
		return nil, in.cutOff()
	}
	in.next += n
	return in.buf[in.next-n : in.next], nil
}

// uint32 returns the next four bytes, for which see bytes.
func (in *input) uint32() (uint32, error) {
	b, err := in.bytes(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

// cutOff is the error of a stream that goes on after the end of its source.
func (in *input) cutOff() error {
	if errors.Is(in.err, io.EOF) {
		return fmt.Errorf("the stream ends too early, after %d bytes: %w", in.done+int64(in.end), io.ErrUnexpectedEOF)
	}
	return in.err
}

// corrupt is an error of the stream itself.
func (in *input) corrupt(reason string) error {
	at := in.done + int64(in.next) - int64(in.count>>3)
	return fmt.Errorf("%s, before byte %d of the stream", reason, at)
}

// lookUp returns the entry of the next code, for whose bits it has looked but which it has not consumed.
func (in *input) lookUp(table []uint32, root uint64) (uint32, error) {
	e := table[in.bits&(1<<root-1)]
	if e&kinds == second {
		if in.count < root {
			return 0, in.cutOff()
		}
		in.drop(root)
		e = table[uint64(e>>16)+in.bits&(1<<(e>>8&15)-1)]
	}
	switch {
	case in.count < uint64(e&63):
		return 0, in.cutOff()
	case e&kinds == invalid:
		return 0, in.corrupt(badCode)
	}
	return e, nil
}
