// Package inflate decompresses gzip, and DEFLATE within, faster than general libraries do: base layers are the long pole of
// a build that starts with nothing.
package inflate

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Reader decompresses a gzip stream (RFC 1952) of one member or several.
type Reader struct {
	d    decoder
	err  error
	sum  uint32 // of the member up to out[seen]
	size uint32 // likewise, modulo 2³²
	seen int
	read int // out[read:pos] is still to be read
}

// NewReader returns a reader of src, and reads the first member's header. The reader reads as much of src as it can get, not
// only up to the end of the stream, after which there must be nothing. It takes less than half a megabyte of memory.
func NewReader(src io.Reader) (*Reader, error) {
	r := &Reader{}
	r.d.in.src = src
	if err := r.header(); err != nil {
		return nil, err
	}
	r.begin()
	return r, nil
}

// Read implements [io.Reader]. All that comes before an error is read before it.
func (r *Reader) Read(p []byte) (int, error) {
	for r.read == r.d.pos {
		if r.err != nil {
			return 0, r.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		r.advance()
	}
	n := copy(p, r.d.out[r.read:r.d.pos])
	r.read += n
	return n, nil
}

// WriteTo implements [io.WriterTo].
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		n, err := w.Write(r.d.out[r.read:r.d.pos])
		written += int64(n)
		r.read += n
		switch {
		case err != nil:
			return written, err
		case r.read < r.d.pos:
			return written, io.ErrShortWrite
		case errors.Is(r.err, io.EOF):
			return written, nil
		case r.err != nil:
			return written, r.err
		}
		r.advance()
	}
}

// advance decodes the next bytes, now that all are read.
func (r *Reader) advance() {
	r.d.room()
	r.read, r.seen = r.d.pos, r.d.pos
	r.err = r.d.decode()
	seen := r.d.out[r.seen:r.d.pos]
	r.sum = crc32.Update(r.sum, crc32.IEEETable, seen)
	r.size += uint32(len(seen))
	if r.err == nil && r.d.block == ended {
		r.err = r.member()
	}
}

func (r *Reader) begin() {
	r.sum, r.size = 0, 0
	r.d.begin()
}

// member checks the end of a member and begins the next one. io.EOF says that there is none.
func (r *Reader) member() error {
	in := &r.d.in
	in.settle()
	sum, err := in.uint32()
	if err != nil {
		return err
	}
	size, err := in.uint32()
	if err != nil {
		return err
	}
	switch {
	case sum != r.sum:
		return in.corrupt(fmt.Sprintf("the checksum is %08x, and that of the content %08x", sum, r.sum))
	case size != r.size:
		return in.corrupt(fmt.Sprintf("the size is %d, and that of the content %d", size, r.size))
	}
	if in.fill(1); in.next == in.end {
		return in.err
	}
	if err := r.header(); err != nil {
		return err
	}
	r.begin()
	return nil
}

// Flags of a member's header.
const (
	headerSum = 1 << (iota + 1)
	headerExtra
	headerName
	headerComment
	headerReserved
)

// header reads a member's header.
func (r *Reader) header() error {
	h := memberHeader{in: &r.d.in}
	if magic := h.uint16(); h.err == nil && magic != 0x8b1f {
		return h.in.corrupt("neither the end nor a gzip header")
	}
	if method := h.byte(); h.err == nil && method != 8 {
		return h.in.corrupt(fmt.Sprintf("a gzip header of compression method %d, not 8", method))
	}
	flags := h.byte()
	h.skip(6) // time, level and system
	if h.err == nil && flags >= headerReserved {
		return h.in.corrupt(fmt.Sprintf("a gzip header with reserved flags, 0x%02x", flags))
	}
	if flags&headerExtra != 0 {
		h.skip(int(h.uint16()))
	}
	if flags&headerName != 0 {
		h.text()
	}
	if flags&headerComment != 0 {
		h.text()
	}
	if flags&headerSum != 0 {
		if want := uint16(h.sum); h.uint16() != want && h.err == nil {
			return h.in.corrupt("a gzip header with a wrong checksum")
		}
	}
	return h.err
}

// memberHeader reads a member's header and takes its checksum.
type memberHeader struct {
	in  *input
	sum uint32
	err error
}

func (h *memberHeader) byte() byte {
	if h.err != nil {
		return 0
	}
	b, err := h.in.bytes(1)
	if err != nil {
		h.err = err
		return 0
	}
	h.sum = crc32.Update(h.sum, crc32.IEEETable, b)
	return b[0]
}

func (h *memberHeader) uint16() uint16 {
	low := h.byte()
	return uint16(low) | uint16(h.byte())<<8
}

func (h *memberHeader) skip(n int) {
	for ; n > 0 && h.err == nil; n-- {
		h.byte()
	}
}

// text skips a text and the zero at its end.
func (h *memberHeader) text() {
	for h.err == nil && h.byte() != 0 {
	}
}
