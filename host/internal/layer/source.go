package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Source opens single files of a layer. Nothing is fetched before the first file is wanted; then the layer is stored
// uncompressed, under its diff ID, once. It is safe for concurrent use.
type Source struct {
	store  *blob.Store
	diffID digest.Digest
	open   func(ctx context.Context) (io.ReadCloser, error)

	lock chan struct{} // held while file is made; a channel, so that waiting ends with a context
	file *os.File      // nil until the layer is stored
	size int64
}

// NewSource makes the source of the layer with a diff ID. open opens the layer's blob, compressed or not, where the store
// does not hold the layer's tar already.
func NewSource(store *blob.Store, diffID digest.Digest, open func(ctx context.Context) (io.ReadCloser, error)) *Source {
	return &Source{store: store, diffID: diffID, open: open, lock: make(chan struct{}, 1)}
}

// Open opens a regular file, by the offset that its layer's index gives it.
func (s *Source) Open(ctx context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	file, size, err := s.tar(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", ref.Path, err)
	}
	if ref.Offset >= sparseMark {
		r, err := openSparse(io.NewSectionReader(file, ref.Offset-sparseMark, size), ref)
		if err != nil {
			return nil, fmt.Errorf("open %q in layer %q: %w", ref.Path, s.diffID, err)
		}
		return r, nil
	}
	if ref.Offset < 0 || ref.Size < 0 || ref.Offset > size || ref.Size > size-ref.Offset {
		return nil, fmt.Errorf("open %q in layer %q: the layer's %d bytes end before the file's", ref.Path, s.diffID, size)
	}
	return io.NopCloser(io.NewSectionReader(file, ref.Offset, ref.Size)), nil
}

// Close frees the layer's file. The source must not be used any more.
func (s *Source) Close() error {
	s.lock <- struct{}{}
	defer func() { <-s.lock }()
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// tar returns the layer's tar, and stores it before if need be. One caller does that while the others wait; if it fails,
// as when its build is cancelled, the next one tries.
func (s *Source) tar(ctx context.Context) (*os.File, int64, error) {
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
	if s.file != nil {
		return s.file, s.size, nil
	}
	b, err := s.store.Get(s.diffID)
	if errors.Is(err, blob.ErrNotFound) {
		b, err = s.unpack(ctx)
	}
	if err != nil {
		return nil, 0, err
	}
	_, size, err := b.Wait(ctx)
	if err != nil {
		return nil, 0, err
	}
	file, err := os.Open(b.File())
	if err != nil {
		return nil, 0, fmt.Errorf("read layer %q: %w", s.diffID, err)
	}
	s.file, s.size = file, size
	return file, size, nil
}

// unpack stores the layer's tar.
func (s *Source) unpack(ctx context.Context) (b *blob.Blob, err error) {
	r, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	d, err := newDecompressor(r)
	if err != nil {
		return nil, fmt.Errorf("read layer %q: %w", s.diffID, err)
	}
	defer d.close()
	if b, err = s.store.Adopt(ctx, d, s.diffID); err != nil {
		return nil, fmt.Errorf("read layer %q: %w", s.diffID, err)
	}
	return b, nil
}

// openSparse opens a file with holes, from its header on.
func openSparse(r io.Reader, ref filetree.Ref) (io.ReadCloser, error) {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return nil, tarError(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if h.Size != ref.Size {
			return nil, fmt.Errorf("it has %d bytes, not %d", h.Size, ref.Size)
		}
		return io.NopCloser(t), nil
	}
}

var _ filetree.Source = (*Source)(nil)
