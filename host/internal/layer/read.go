package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
)

const (
	// maxSparse is how large the sparse files of a layer may be together, for a few bytes can stand for any number.
	maxSparse = 64 << 30
	// maxNames is how much memory a layer's paths, links and extended attributes may take.
	maxNames = 512 << 20
	// sparseMark, added to the offset of a file's header, is the offset of a file with holes: it has no content that
	// could be read as it is. No tar that [Read] accepts is that long.
	sparseMark = 1 << 40
)

// Visitor sees the entries of a layer that is being read.
type Visitor interface {
	// Entry is called for each entry in the layer's order, by one goroutine. e has no digest yet. content is nil but for
	// regular files; it holds e.Size bytes, need not be read to its end, and must not be used after the call. An error
	// ends the reading.
	Entry(e filetree.Entry, content io.Reader) error
}

// ReadOptions say what to do with a layer while it is read. The zero value only reads.
type ReadOptions struct {
	// Name of the layer in errors: its digest.
	Name string
	// DiffID that the layer must have; empty if that is not known.
	DiffID digest.Digest
	// Visitor sees the entries; nil for nobody.
	Visitor Visitor
	// Tee gets the layer's tar, uncompressed, from a goroutine of its own; nil for nobody.
	Tee io.Writer
}

// Contents is what was found in a layer.
type Contents struct {
	Index
	DiffID digest.Digest
	// Size of the layer's tar, uncompressed.
	Size        int64
	Compression image.Compression
}

// Read reads a layer that is not trusted, compressed or not, to the end of r: whoever verifies the blob's digest while it is
// read has seen it all. Files with holes are expanded for the visitor.
//
// Once ctx is done Read returns, but not before a pending Read of r does.
func Read(ctx context.Context, r io.Reader, o ReadOptions) (*Contents, error) {
	c, err := read(ctx, r, o)
	if err != nil {
		return nil, fmt.Errorf("read layer %q: %w", o.Name, err)
	}
	return c, nil
}

func read(ctx context.Context, r io.Reader, o ReadOptions) (*Contents, error) {
	group, groupCtx := errgroup.WithContext(ctx)
	compressed := newPump(groupCtx, group)
	in := compressed.reader()
	compressed.run(r)
	c := &Contents{Index: Index{Inline: Inline{}}}
	diff := sha256.New()
	group.Go(func() error {
		d, err := newDecompressor(in)
		if err != nil {
			return err
		}
		defer d.close()
		c.Compression = d.compression
		inner, innerCtx := errgroup.WithContext(groupCtx)
		raw := newPump(innerCtx, inner)
		raw.observe(diff)
		if o.Tee != nil {
			raw.observe(o.Tee)
		}
		u := newUntarrer(raw.reader(), o.Visitor, &c.Index)
		inner.Go(u.run)
		raw.run(d)
		if err := inner.Wait(); err != nil {
			return err
		}
		c.Size = u.in.n
		// What follows the stream, if anything, belongs to the blob.
		_, err = in.WriteTo(io.Discard)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	c.DiffID = digest.NewDigest(digest.SHA256, diff)
	if o.DiffID != "" && c.DiffID != o.DiffID {
		return nil, fmt.Errorf("its diff ID is %q, not %q as the image's config says", c.DiffID, o.DiffID)
	}
	return c, nil
}

// untarrer reads the entries of a tar.
type untarrer struct {
	in      *counter
	tar     *tar.Reader
	visitor Visitor
	index   *Index
	hash    hash.Hash
	buf     []byte
	inlined map[string]filetree.Digest // what is kept of a path
	sparse  int64                      // sizes of all sparse files
	names   int64
}

func newUntarrer(r io.Reader, v Visitor, x *Index) *untarrer {
	in := &counter{r: r}
	return &untarrer{
		in: in, tar: tar.NewReader(in), visitor: v, index: x, hash: sha256.New(), buf: make([]byte, 64<<10),
		inlined: map[string]filetree.Digest{},
	}
}

func (u *untarrer) run() error {
	for {
		start := u.in.n + int64(pad(u.in.n))
		h, err := u.tar.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return tarError(err)
		}
		if err := u.entry(h, start); err != nil && !errors.Is(err, ErrIgnored) {
			return err
		}
	}
	// The diff ID is that of all bytes, also of those after the end of the archive.
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, u.in, u.buf)
	return err
}

func tarError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("its tar is cut off: %w", err)
	}
	switch {
	case errors.Is(err, tar.ErrHeader):
		return errors.New("its tar is damaged: a header is invalid")
	case errors.Is(err, tar.ErrFieldTooLong):
		return errors.New("its tar has a header that is too long")
	}
	return err
}

func (u *untarrer) entry(h *tar.Header, start int64) error {
	e, err := EntryFromHeader(h)
	if err != nil {
		return err
	}
	if err := u.limit(&e, h); err != nil {
		return err
	}
	if e.Type != filetree.Regular {
		if u.visitor != nil {
			if err := u.visitor.Entry(e, nil); err != nil {
				return err
			}
		}
		u.index.Entries = append(u.index.Entries, e)
		return nil
	}
	e.Offset = u.in.n
	if err := u.content(&e); err != nil {
		return fmt.Errorf("%q: %w", e.Path, tarError(err))
	}
	if u.in.n-e.Offset != e.Size {
		e.Offset = start + sparseMark
	}
	u.index.Entries = append(u.index.Entries, e)
	return nil
}

// limit refuses layers that are made to fill memory or to take for ever.
func (u *untarrer) limit(e *filetree.Entry, h *tar.Header) error {
	if len(u.index.Entries) == maxEntries {
		return fmt.Errorf("it has more than %d entries", maxEntries)
	}
	if u.in.n >= sparseMark {
		return fmt.Errorf("it has more than %d bytes", int64(sparseMark))
	}
	u.names += int64(len(e.Path) + len(e.Link))
	for name, value := range e.Xattrs {
		u.names += int64(len(name) + len(value))
	}
	if u.names > maxNames {
		return fmt.Errorf("its paths, links and extended attributes have more than %d bytes", maxNames)
	}
	if isSparse(h) {
		if u.sparse += min(e.Size, maxSparse+1); u.sparse > maxSparse {
			return fmt.Errorf("%q: its sparse files have more than %d bytes together", e.Path, int64(maxSparse))
		}
	}
	return nil
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for record := range h.PAXRecords {
		if strings.HasPrefix(record, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// content takes the digest of a file while the visitor reads it.
func (u *untarrer) content(e *filetree.Entry) error {
	u.hash.Reset()
	c := &content{tar: u.tar, hash: u.hash}
	if isInlined(e.Path) && e.Size <= maxInline {
		c.copy = &bytes.Buffer{}
	}
	if u.visitor != nil {
		if err := u.visitor.Entry(*e, c); err != nil {
			return err
		}
	}
	for {
		_, err := c.Read(u.buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	u.hash.Sum(e.Digest[:0])
	if c.copy != nil {
		u.inline(e, c.copy.Bytes())
	}
	return nil
}

// inline keeps the last content of a path, so that a layer with many does not fill memory.
func (u *untarrer) inline(e *filetree.Entry, content []byte) {
	if old, ok := u.inlined[e.Path]; ok {
		delete(u.index.Inline, old)
	}
	u.inlined[e.Path] = e.Digest
	u.index.Inline.add(content)
}

// content reads a file of a tar.
type content struct {
	tar  *tar.Reader
	hash hash.Hash
	copy *bytes.Buffer
}

func (c *content) Read(p []byte) (int, error) {
	n, err := c.tar.Read(p)
	_, _ = c.hash.Write(p[:n]) // never fails
	if c.copy != nil {
		_, _ = c.copy.Write(p[:n]) // never fails
	}
	return n, err
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
