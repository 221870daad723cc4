package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// AdoptFile brings in the content of a file that must have the digest, by a hard link where the file system allows that
// and by a copy where it does not. The file must not be written to afterwards.
func (s *Store) AdoptFile(ctx context.Context, file string, want digest.Digest) (*Blob, error) {
	if b, err := s.Get(want); err == nil || !errors.Is(err, ErrNotFound) {
		return b, err
	}
	link := s.ingestPath()
	if os.Link(file, link) != nil {
		// Another file system, a limit on links, or a file of another owner.
		f, err := openRegular(file)
		if err != nil {
			return nil, fmt.Errorf("adopt blob %q: %w", want, err)
		}
		b, err := s.Adopt(ctx, f, want)
		return b, errors.Join(err, f.Close())
	}
	b, err := s.adoptLink(ctx, link, want)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("adopt blob %q from %q: %w", want, file, err), os.Remove(link))
	}
	return b, nil
}

// adoptLink verifies a link in the store and gives it its place. What is verified is what is linked: whoever puts another
// file at the first name does not change ours.
func (s *Store) adoptLink(ctx context.Context, link string, want digest.Digest) (b *Blob, err error) {
	f, err := openRegular(link)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	verifier := want.Verifier()
	size, err := io.Copy(verifier, &cancelled{ctx, f})
	if err != nil {
		return nil, err
	}
	if !verifier.Verified() {
		return nil, errors.New("its content has another digest")
	}
	b = &Blob{path: link, size: size}
	return b, s.publish(link, b, want)
}

// Adopt brings in the bytes of r, which must have the digest. It reads r to the end, but does not close it.
func (s *Store) Adopt(ctx context.Context, r io.Reader, want digest.Digest) (*Blob, error) {
	if err := check(want); err != nil {
		return nil, err
	}
	w, err := s.Create(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyBuffer(w, &cancelled{ctx, r}, make([]byte, 256<<10)); err != nil {
		return nil, w.end(fmt.Errorf("adopt blob %q: %w", want, err))
	}
	return w.CommitAs(ctx, want)
}

// openRegular opens a regular file. It neither follows a last symlink nor waits for the other end of a fifo.
func openRegular(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is no regular file", file)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// cancelled is a reader that ends with its context, which it holds because io.Reader has no place for one.
type cancelled struct {
	ctx context.Context //nolint:containedctx // see above
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
