package layer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// The binary form of an index: a magic number with the version, the number of entries, the entries, the number of inline
// files, those files each after its length, and a CRC-32C of all that. Numbers are varints of encoding/binary; an entry says
// only how it differs from the one before:
//
//	type and flags     one byte: the type in the low four bits
//	path               length of what it shares with the path before, length of the rest, the rest
//	mode, uid, gid     without sameOwner
//	time               without sameTime: seconds since the time before, zigzag; lowest bit: nanoseconds follow
//	size, offset       of a regular file; the offset in blocks from where it is when nothing but a header is between
//	digest             with hasDigest: 32 bytes
//	link               of links: length and bytes
//	major, minor       of devices
//	xattrs             with hasXattrs: their number, and for each length and bytes of name and value, sorted by name
const (
	indexMagic = "TRWL\x00IX\x01"
	// maxExpansion is how much longer than its index the paths in it may be, all together. Longer ones are possible
	// where long paths share most of their bytes; the encoder then writes a path in full, and the decoder knows that
	// no index can make it allocate much more than its own size.
	maxExpansion = 32
)

const (
	sameOwner = 1 << (4 + iota)
	sameTime
	hasDigest
	hasXattrs
)

// entryBytes is about what an entry takes.
const entryBytes = 80

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodeIndex writes an index. Equal indexes give equal bytes.
func EncodeIndex(x Index) ([]byte, error) {
	if len(x.Entries) > maxEntries {
		return nil, fmt.Errorf("encode index: %d entries; %d are possible", len(x.Entries), maxEntries)
	}
	e := indexEncoder{out: append(make([]byte, 0, 64+entryBytes*len(x.Entries)), indexMagic...)}
	e.number(len(x.Entries))
	for i := range x.Entries {
		if err := e.entry(&x.Entries[i]); err != nil {
			return nil, fmt.Errorf("encode index: %q: %w", x.Entries[i].Path, err)
		}
	}
	if err := e.inline(x.Inline); err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	return binary.LittleEndian.AppendUint32(e.out, crc32.Checksum(e.out, castagnoli)), nil
}

type indexEncoder struct {
	out      []byte
	before   filetree.Entry
	expanded int // bytes of all paths
}

func (w *indexEncoder) number(n int)   { w.out = binary.AppendUvarint(w.out, uint64(n)) }
func (w *indexEncoder) signed(n int64) { w.out = binary.AppendVarint(w.out, n) }
func (w *indexEncoder) text(s string) {
	w.number(len(s))
	w.out = append(w.out, s...)
}

func (w *indexEncoder) entry(e *filetree.Entry) error {
	if err := encodable(e); err != nil {
		return err
	}
	b := &w.before
	flags := byte(e.Type)
	if e.Mode == b.Mode && e.UID == b.UID && e.GID == b.GID {
		flags |= sameOwner
	}
	if e.ModTime == b.ModTime {
		flags |= sameTime
	}
	if e.Digest.Known() {
		flags |= hasDigest
	}
	if len(e.Xattrs) > 0 {
		flags |= hasXattrs
	}
	w.out = append(w.out, flags)
	w.path(e.Path)
	if flags&sameOwner == 0 {
		w.number(int(e.Mode))
		w.number(int(e.UID))
		w.number(int(e.GID))
	}
	if flags&sameTime == 0 {
		w.time(e.ModTime)
	}
	w.content(e)
	w.xattrs(e.Xattrs)
	offset, size := b.Offset, b.Size
	*b = *e
	if e.Type != filetree.Regular {
		b.Offset, b.Size = offset, size
	}
	return nil
}

// encodable refuses what the form, or a layer, has no place for.
func encodable(e *filetree.Entry) error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	switch {
	case e.Type < filetree.Regular || e.Type > filetree.Opaque:
		return fmt.Errorf("unknown type %d", e.Type)
	case e.Mode > 0o7777:
		return fmt.Errorf("mode %#o", e.Mode)
	case e.Size < 0 || e.Offset < 0 || e.Offset%tarBlock != 0:
		return fmt.Errorf("size %d at offset %d", e.Size, e.Offset)
	case e.Type != filetree.Regular && (e.Size != 0 || e.Offset != 0 || e.Digest.Known()):
		return fmt.Errorf("a %s with content", e.Type)
	case len(e.Link) > maxPath:
		return errors.New("its link is too long")
	}
	return nil
}

// path writes what p does not share with the path before.
func (w *indexEncoder) path(p string) {
	shared := 0
	for shared < min(len(p), len(w.before.Path)) && p[shared] == w.before.Path[shared] {
		shared++
	}
	w.expanded += len(p)
	if w.expanded > maxExpansion*len(w.out) {
		shared = 0
	}
	w.number(shared)
	w.text(p[shared:])
}

func (w *indexEncoder) time(ns int64) {
	seconds, rest := floor(ns)
	before, _ := floor(w.before.ModTime)
	delta := (seconds - before) << 1
	if rest == 0 {
		w.signed(delta)
		return
	}
	w.signed(delta | 1)
	w.number(int(rest))
}

// floor splits a time into seconds and nanoseconds that are not negative.
func floor(ns int64) (seconds, rest int64) {
	seconds, rest = ns/int64(time.Second), ns%int64(time.Second)
	if rest < 0 {
		seconds, rest = seconds-1, rest+int64(time.Second)
	}
	return seconds, rest
}

func (w *indexEncoder) content(e *filetree.Entry) {
	switch e.Type {
	case filetree.Regular:
		w.number(int(e.Size))
		w.signed(e.Offset/tarBlock - nextBlock(&w.before))
		if e.Digest.Known() {
			w.out = append(w.out, e.Digest[:]...)
		}
	case filetree.Symlink, filetree.Hardlink:
		w.text(e.Link)
	case filetree.CharDevice, filetree.BlockDevice:
		w.number(int(e.Major))
		w.number(int(e.Minor))
	}
}

// nextBlock is where content is if one header follows the content before.
func nextBlock(before *filetree.Entry) int64 {
	blocks := before.Size / tarBlock
	if before.Size%tarBlock != 0 {
		blocks++
	}
	return before.Offset/tarBlock + blocks + 1
}

func (w *indexEncoder) xattrs(xattrs map[string]string) {
	if len(xattrs) == 0 {
		return
	}
	w.number(len(xattrs))
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		w.text(name)
		w.text(xattrs[name])
	}
}

func (w *indexEncoder) inline(in Inline) error {
	w.number(len(in))
	order := slices.SortedFunc(maps.Keys(in), func(a, b filetree.Digest) int { return slices.Compare(a[:], b[:]) })
	for _, d := range order {
		if len(in[d]) > maxInline {
			return fmt.Errorf("inline file of %d bytes; %d are possible", len(in[d]), maxInline)
		}
		w.text(string(in[d]))
	}
	return nil
}
