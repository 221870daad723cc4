package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/sdk"
)

// PutBlob stores a blob, whole or not at all.
func (c *Cache) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	if err := c.putBlob(ctx, blob, content); err != nil {
		return fmt.Errorf("put blob %q: %w", abbreviate(string(blob.Digest)), c.explain(err))
	}
	c.size.grew(context.WithoutCancel(ctx), c, blob.Size)
	return nil
}

func (c *Cache) putBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	sum, err := parseDigest(blob.Digest)
	if err != nil {
		return err
	}
	if blob.Size < 0 {
		return fmt.Errorf("size %d is negative", blob.Size)
	}
	if err := checkContext(ctx); err != nil {
		return err
	}
	if _, size, err := c.findBlob(ctx, blob.Digest); err == nil {
		if size != blob.Size {
			return fmt.Errorf("the cache holds %d bytes of that digest, and the blob has %d", size, blob.Size)
		}
		return nil
	}
	return c.place(blobName(sum, blob.Size), func(f *os.File, name string) error {
		if content.File != "" {
			switch done, err := c.adopt(f, name, content.File, blob.Size); {
			case err != nil:
				return err
			case done:
				return nil
			}
		}
		return copyBlob(ctx, f, blob, content)
	})
}

// place makes an entry: fill writes it to a temporary file, or puts another one at that file's name, and the file at that
// name is renamed into place.
func (c *Cache) place(final string, fill func(f *os.File, name string) error) (err error) {
	s, err := c.ownScratch()
	if err != nil {
		return err
	}
	name := s.file()
	// What is written may be renamed away from this name, and the rename of one link onto another leaves both.
	defer func() { err = errors.Join(err, ignoreNotExist(c.root.Remove(name))) }()
	f, err := c.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(fill(f, name), f.Close()); err != nil {
		return err
	}
	now := time.Now()
	if err := c.root.Chtimes(name, now, now); err != nil {
		return err
	}
	err = c.root.Rename(name, final)
	if errors.Is(err, os.ErrNotExist) {
		if err := c.root.MkdirAll(path.Dir(final), 0o755); err != nil {
			return err
		}
		err = c.root.Rename(name, final)
	}
	return err
}

func (c *Cache) ownScratch() (*scratch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scratch == nil {
		s, err := newScratch(c.root)
		if err != nil {
			return nil, err
		}
		c.scratch = s
	}
	return c.scratch, nil
}

// adopt takes a file that the host offers without copying its bytes: cloned into f, or linked in f's place. It answers
// false where the file system can do neither.
func (c *Cache) adopt(f *os.File, name, file string, size int64) (bool, error) {
	src, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer src.Close() //nolint:errcheck // opened to read
	info, err := src.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%q is no regular file", file)
	}
	if info.Size() != size {
		return false, fmt.Errorf("%q has %d bytes, and the blob %d", file, info.Size(), size)
	}
	if unix.IoctlFileClone(int(f.Fd()), int(src.Fd())) == nil {
		return true, nil
	}
	if !owned(info) {
		return false, nil // its times are not ours to set, nor its owner's restraint ours to know
	}
	return c.link(name, file, info)
}

// owned says whether a file belongs to the user this process runs as.
func owned(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// link replaces the temporary file by a link to the one offered.
func (c *Cache) link(name, file string, want os.FileInfo) (bool, error) {
	absolute, err := filepath.Abs(file)
	if err != nil {
		return false, err
	}
	dir, err := c.root.Open(path.Dir(name))
	if err != nil {
		return false, err
	}
	defer dir.Close() //nolint:errcheck // opened for its descriptor
	linked := path.Base(name) + "l"
	if unix.Linkat(unix.AT_FDCWD, absolute, int(dir.Fd()), linked, 0) != nil {
		return false, nil // another file system, too many links, or not permitted: copy
	}
	linkedName := path.Join(path.Dir(name), linked)
	got, err := c.root.Lstat(linkedName)
	if err == nil && os.SameFile(want, got) {
		return true, c.root.Rename(linkedName, name)
	}
	// What stands at that path is not what was looked at.
	return false, errors.Join(err, c.root.Remove(linkedName))
}

// copyBlob writes the content and checks that it is the blob's.
func copyBlob(ctx context.Context, f *os.File, blob sdk.Blob, content sdk.Content) (err error) {
	if content.Open == nil {
		return errors.New("content has no Open")
	}
	r, err := content.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	hash := sha256.New()
	// One byte more than there should be, to see that there are not more.
	limited := io.LimitReader(contextReader{ctx, r}, blob.Size+1)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, hash)}, limited, make([]byte, 256<<10))
	if err != nil {
		return err
	}
	if n > blob.Size {
		return fmt.Errorf("the content is longer than the blob's %d bytes", blob.Size)
	}
	if n < blob.Size {
		return fmt.Errorf("the content has %d bytes, and the blob %d", n, blob.Size)
	}
	if got := digestPrefix + hex.EncodeToString(hash.Sum(nil)); got != string(blob.Digest) {
		return fmt.Errorf("the content's digest is %q", got)
	}
	return nil
}

// contextReader ends when its context does.
type contextReader struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := checkContext(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// explain adds what the user can do about an error of the file system.
func (c *Cache) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: make room below %q, or set a max_size that fits", err, c.dir)
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%w: make %q writable, or use the cache for reading only", err, c.dir)
	}
	return err
}
