package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// stream reads a file that is too large to be held, and sends it in chunks.
func (t *tarrer) stream(s *segment) error {
	c, e := &t.changes[s.from], &t.entries[s.from]
	*e = writtenEntry(&c.Entry)
	buf := t.buffers.Get().(*[]byte)
	var err error
	if *buf, err = appendHeader((*buf)[:0], e); err != nil {
		return err
	}
	e.Offset = int64(len(*buf))
	s.head <- buf
	got, err := t.streamContent(s, c)
	if err != nil {
		return fmt.Errorf("read %q: %w", c.Path, err)
	}
	if err := setDigest(e, c, got); err != nil {
		return err
	}
	close(s.body)
	return nil
}

func (t *tarrer) streamContent(s *segment, c *filetree.Change) (got filetree.Digest, err error) {
	r, err := c.Source.Open(t.ctx, c.From)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	hash := sha256.New()
	for left := c.Size; left > 0; {
		chunk := t.chunks.Get().(*[]byte)
		*chunk = (*chunk)[:min(left, chunkSize)]
		n, err := io.ReadFull(r, *chunk)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return got, fmt.Errorf("it has %d bytes, not %d: %w", c.Size-left+int64(n), c.Size, ErrChanged)
		}
		if err != nil {
			return got, err
		}
		_, _ = hash.Write(*chunk) // never fails
		left -= int64(n)
		select {
		case s.body <- chunk:
		case <-t.ctx.Done():
			return got, context.Cause(t.ctx)
		}
	}
	return filetree.Digest(hash.Sum(nil)), checkEnd(r, c.Size)
}

// checkEnd fails if a file has more than its size.
func checkEnd(r io.Reader, size int64) error {
	var more [1]byte
	n, err := io.ReadFull(r, more[:])
	switch {
	case n > 0:
		return fmt.Errorf("it has more than the expected %d bytes: %w", size, ErrChanged)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}
