package layer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// minEntry is the least that an entry takes: type, two lengths, a byte of a path or of something else.
const minEntry = 4

var errCorrupt = errors.New("it is corrupt")

// DecodeIndex reads what [EncodeIndex] wrote. Damage is found by a checksum, which does not keep anybody from making an
// index that lies: any bytes at all give an index or an error, in time and memory proportional to their number, and an
// index has no entry that no layer could have.
func DecodeIndex(data []byte) (*Index, error) {
	x, err := decodeIndex(data)
	if err != nil {
		return nil, fmt.Errorf("decode index: %w", err)
	}
	return x, nil
}

func decodeIndex(data []byte) (*Index, error) {
	if len(data) < len(indexMagic)+4 || !bytes.HasPrefix(data, []byte(indexMagic[:len(indexMagic)-1])) {
		return nil, errors.New("it is none")
	}
	if version := data[len(indexMagic)-1]; version != indexMagic[len(indexMagic)-1] {
		return nil, fmt.Errorf("version %d is not known", version)
	}
	body, sum := data[:len(data)-4], binary.LittleEndian.Uint32(data[len(data)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, errCorrupt
	}
	d := indexDecoder{in: body[len(indexMagic):], paths: maxExpansion * len(data)}
	x := d.index()
	if d.failed || len(d.in) > 0 {
		return nil, errCorrupt
	}
	return x, nil
}

// indexDecoder reads from in. Once something is wrong it is failed, and what it returns means nothing.
type indexDecoder struct {
	in     []byte
	failed bool
	before filetree.Entry
	path   []byte
	paths  int // bytes that the paths may still take
}

func (r *indexDecoder) fail() {
	r.failed = true
	r.in = nil
}

func (r *indexDecoder) number(limit uint64) uint64 {
	n, k := binary.Uvarint(r.in)
	if k <= 0 || n > limit {
		r.fail()
		return 0
	}
	r.in = r.in[k:]
	return n
}

func (r *indexDecoder) signed() int64 {
	n, k := binary.Varint(r.in)
	if k <= 0 {
		r.fail()
		return 0
	}
	r.in = r.in[k:]
	return n
}

// bytes returns a part of the input.
func (r *indexDecoder) bytes(n uint64) []byte {
	if n > uint64(len(r.in)) {
		r.fail()
		return nil
	}
	b := r.in[:n]
	r.in = r.in[n:]
	return b
}

func (r *indexDecoder) text(limit uint64) string { return string(r.bytes(r.number(limit))) }

func (r *indexDecoder) index() *Index {
	count := r.number(maxEntries)
	x := &Index{Inline: Inline{}}
	if count > 0 {
		x.Entries = make([]filetree.Entry, 0, min(count, uint64(len(r.in)/minEntry)))
	}
	for range count {
		e := r.entry()
		if r.failed {
			return nil
		}
		x.Entries = append(x.Entries, e)
	}
	for range r.number(math.MaxUint32) {
		content := r.bytes(r.number(maxInline))
		if r.failed {
			return nil
		}
		x.Inline.add(content)
	}
	return x
}

func (r *indexDecoder) entry() filetree.Entry {
	e, b := filetree.Entry{}, &r.before
	head := r.bytes(1)
	if r.failed {
		return e
	}
	flags := head[0]
	e.Type = filetree.Type(flags & 0x0f)
	e.Path = r.entryPath()
	e.Mode, e.UID, e.GID = b.Mode, b.UID, b.GID
	if flags&sameOwner == 0 {
		e.Mode, e.UID, e.GID = uint16(r.number(0o7777)), uint32(r.number(math.MaxUint32)), uint32(r.number(math.MaxUint32))
	}
	e.ModTime = b.ModTime
	if flags&sameTime == 0 {
		e.ModTime = r.time()
	}
	r.content(&e, flags)
	if flags&hasXattrs != 0 {
		e.Xattrs = r.xattrs()
	}
	if encodable(&e) != nil {
		r.fail()
	}
	offset, size := b.Offset, b.Size
	*b = e
	if e.Type != filetree.Regular {
		b.Offset, b.Size = offset, size
	}
	return e
}

func (r *indexDecoder) entryPath() string {
	shared := r.number(uint64(len(r.path)))
	r.path = append(r.path[:shared], r.bytes(r.number(maxPath))...)
	if r.paths -= len(r.path); r.paths < 0 {
		r.fail()
		return ""
	}
	return string(r.path)
}

func (r *indexDecoder) time() int64 {
	delta := r.signed()
	before, _ := floor(r.before.ModTime)
	const limit = math.MaxInt64/int64(time.Second) - 1
	seconds := before + delta>>1
	if seconds > limit || seconds < -limit {
		r.fail()
		return 0
	}
	ns := seconds * int64(time.Second)
	if delta&1 != 0 {
		ns += int64(r.number(uint64(time.Second) - 1))
	}
	return ns
}

func (r *indexDecoder) content(e *filetree.Entry, flags byte) {
	switch e.Type {
	case filetree.Regular:
		e.Size = int64(r.number(math.MaxInt64))
		// Wrapped around, it is negative or no longer divisible, and refused.
		block := nextBlock(&r.before) + r.signed()
		if block < 0 || block > math.MaxInt64/tarBlock {
			r.fail()
			return
		}
		e.Offset = block * tarBlock
		if flags&hasDigest != 0 {
			copy(e.Digest[:], r.bytes(uint64(len(e.Digest))))
		}
	case filetree.Symlink, filetree.Hardlink:
		e.Link = r.text(maxPath)
	case filetree.CharDevice, filetree.BlockDevice:
		e.Major, e.Minor = uint32(r.number(math.MaxUint32)), uint32(r.number(math.MaxUint32))
	}
}

func (r *indexDecoder) xattrs() map[string]string {
	count := r.number(uint64(len(r.in) / 2))
	if r.failed || count == 0 {
		r.fail()
		return nil
	}
	xattrs := map[string]string{}
	for range count {
		name := r.text(255)
		value := r.text(64 << 10)
		if r.failed {
			return nil
		}
		xattrs[name] = value
	}
	return xattrs
}
