package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

const (
	// readers is how many goroutines open and read files: more than processors, since a file that is not in the page
	// cache makes its reader wait.
	readers = 8
	// segmentBytes and segmentEntries end a segment.
	segmentBytes   = 256 << 10
	segmentEntries = 64
	// streamed is the size from which on a file is no longer read as a whole.
	streamed = 1 << 20
	// chunkSize is how a streamed file is read, and chunksAhead how much of it ahead.
	chunkSize   = 256 << 10
	chunksAhead = 4
)

// tarrer makes a tar of changes: readers turn segments of the list into pieces of the tar, several at once, and assemble
// puts them together in order. The memory that it takes does not depend on the changes' content.
type tarrer struct {
	ctx     context.Context //nolint:containedctx // of the group
	changes []filetree.Change
	entries []filetree.Entry
	ordered chan *segment // to assemble
	work    chan *segment // to the readers
	buffers sync.Pool     // of *[]byte, for segments
	chunks  sync.Pool     // of *[]byte with chunkSize

	mu     sync.Mutex
	inline Inline
}

// segment is a part of the list of changes: several small files, or one that is streamed.
type segment struct {
	from, to int
	head     chan *[]byte // the piece of the tar, or the header of a file that is streamed
	body     chan *[]byte // what is streamed; nil if nothing is
}

func newTarrer(ctx context.Context, changes []filetree.Change) *tarrer {
	t := &tarrer{
		ctx: ctx, changes: changes, entries: make([]filetree.Entry, len(changes)), inline: Inline{},
		ordered: make(chan *segment, readers), work: make(chan *segment, readers),
	}
	t.buffers.New = func() any { b := make([]byte, 0, 2*segmentBytes); return &b }
	t.chunks.New = func() any { b := make([]byte, chunkSize); return &b }
	return t
}

// start starts to read.
func (t *tarrer) start(group *errgroup.Group) {
	group.Go(t.divide)
	for range readers {
		group.Go(t.read)
	}
}

// divide cuts the changes into segments.
func (t *tarrer) divide() error {
	defer close(t.ordered)
	defer close(t.work)
	for from := 0; from < len(t.changes); {
		s := &segment{from: from, to: from + 1, head: make(chan *[]byte, 1)}
		if size := t.changes[from].Size; t.changes[from].Type == filetree.Regular && size > streamed {
			s.body = make(chan *[]byte, chunksAhead)
		} else {
			s.to = t.segmentEnd(from)
		}
		from = s.to
		for _, ch := range []chan *segment{t.ordered, t.work} {
			select {
			case ch <- s:
			case <-t.ctx.Done():
				return context.Cause(t.ctx)
			}
		}
	}
	return nil
}

func (t *tarrer) segmentEnd(from int) int {
	var size int64
	for i := from; i < len(t.changes); i++ {
		if t.changes[i].Type == filetree.Regular {
			size += t.changes[i].Size
		}
		if i > from && (size > segmentBytes || i-from == segmentEntries) {
			return i
		}
	}
	return len(t.changes)
}

// read makes pieces of the tar.
func (t *tarrer) read() error {
	for s := range t.work {
		var err error
		if s.body != nil {
			err = t.stream(s)
		} else {
			err = t.gather(s)
		}
		if err != nil {
			return err
		}
		if t.ctx.Err() != nil {
			return context.Cause(t.ctx)
		}
	}
	return nil
}

// gather reads the small files of a segment.
func (t *tarrer) gather(s *segment) error {
	buf := t.buffers.Get().(*[]byte)
	b := (*buf)[:0]
	for i := s.from; i < s.to; i++ {
		var err error
		if b, err = t.gatherEntry(b, i); err != nil {
			return err
		}
	}
	*buf = b
	s.head <- buf
	return nil
}

// gatherEntry appends an entry with its content, and sets what is known of it only now. Its offset is relative to the
// segment.
func (t *tarrer) gatherEntry(b []byte, i int) ([]byte, error) {
	c, e := &t.changes[i], &t.entries[i]
	*e = writtenEntry(&c.Entry)
	b, err := appendHeader(b, e)
	if err != nil || e.Type != filetree.Regular {
		return b, err
	}
	start := len(b)
	e.Offset = int64(start)
	if b, err = appendContent(t.ctx, b, c); err != nil {
		return b, fmt.Errorf("read %q: %w", c.Path, err)
	}
	content := b[start:]
	if err := setDigest(e, c, sha256.Sum256(content)); err != nil {
		return b, err
	}
	if isInlined(e.Path) {
		t.mu.Lock()
		t.inline.add(content)
		t.mu.Unlock()
	}
	return append(b, zeros[:pad(e.Size)]...), nil
}

// writtenEntry is what reading the layer will say of an entry.
func writtenEntry(e *filetree.Entry) filetree.Entry {
	w := *e
	switch e.Type {
	case filetree.Whiteout, filetree.Opaque:
		return filetree.Entry{Path: e.Path, Type: e.Type}
	case filetree.Regular:
	default:
		w.Size, w.Digest = 0, filetree.Digest{}
	}
	w.Mode &= 0o7777
	w.ModTime, w.Offset, w.Xattrs = wholeSeconds(e.ModTime).UnixNano(), 0, nil
	if v, ok := e.Xattrs[capability]; ok && e.Type == filetree.Regular {
		w.Xattrs = map[string]string{capability: v}
	}
	if e.Type != filetree.Symlink && e.Type != filetree.Hardlink {
		w.Link = ""
	}
	if e.Type != filetree.CharDevice && e.Type != filetree.BlockDevice {
		w.Major, w.Minor = 0, 0
	}
	return w
}

// appendContent appends the content of a file, which has to be as long as its change says.
func appendContent(ctx context.Context, b []byte, c *filetree.Change) (_ []byte, err error) {
	if c.Source == nil {
		return b, nil
	}
	r, err := c.Source.Open(ctx, c.From)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	start := len(b)
	b = slices.Grow(b, int(c.Size)+1)[:start+int(c.Size)+1] // one more, to see a file that grew
	n, err := io.ReadFull(r, b[start:])
	switch {
	case err == nil:
		return b, fmt.Errorf("it has more than the expected %d bytes: %w", c.Size, ErrChanged)
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		return b, err
	case int64(n) < c.Size:
		return b, fmt.Errorf("it has %d bytes, not %d: %w", n, c.Size, ErrChanged)
	}
	return b[:start+n], nil
}

// setDigest records the digest of what was read, and compares it with those that were known.
func setDigest(e *filetree.Entry, c *filetree.Change, got filetree.Digest) error {
	for _, want := range []filetree.Digest{c.Digest, c.From.Digest} {
		if want.Known() && want != got {
			return fmt.Errorf("read %q: its content has another digest than expected: %w", c.Path, ErrChanged)
		}
	}
	e.Digest = got
	return nil
}

// assemble puts the pieces together.
func (t *tarrer) assemble(out *compressor) error {
	for {
		var s *segment
		select {
		case s = <-t.ordered:
		case <-t.ctx.Done():
			return context.Cause(t.ctx)
		}
		if s == nil {
			break
		}
		if err := t.place(s, out); err != nil {
			return err
		}
	}
	if _, err := out.Write(zeros[:2*tarBlock]); err != nil {
		return err
	}
	return out.Close()
}

func (t *tarrer) place(s *segment, out *compressor) error {
	head, err := t.receive(s.head)
	if err != nil {
		return err
	}
	for i := s.from; i < s.to; i++ {
		if t.entries[i].Type == filetree.Regular {
			t.entries[i].Offset += out.written
		}
	}
	if _, err := out.Write(*head); err != nil {
		return err
	}
	t.buffers.Put(head)
	if s.body == nil {
		return nil
	}
	return t.placeStream(s, out)
}

func (t *tarrer) placeStream(s *segment, out *compressor) error {
	for {
		chunk, err := t.receive(s.body)
		if err != nil {
			return err
		}
		if chunk == nil {
			break
		}
		if _, err := out.Write(*chunk); err != nil {
			return err
		}
		*chunk = (*chunk)[:chunkSize]
		t.chunks.Put(chunk)
	}
	_, err := out.Write(zeros[:pad(t.changes[s.from].Size)])
	return err
}

// receive returns the next piece; nil at the end of a channel.
func (t *tarrer) receive(ch <-chan *[]byte) (*[]byte, error) {
	select {
	case b := <-ch:
		return b, nil
	case <-t.ctx.Done():
		return nil, context.Cause(t.ctx)
	}
}
