package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// errChanged says that a file of the context is not what it was when the context was indexed.
var errChanged = errors.New("changed while it was read; the build context has to stay as it is during a build")

// files is the [filetree.Source] of one index of a context.
type files struct {
	owner *Context
	// stamps of the files that have content. A file's [filetree.Ref] says which by its Offset, in units of a tar's
	// blocks, for that is what a tree remembers; a path would cost a map.
	stamps []stamp
}

// stamp is how a file looked when it was indexed, but for its size, which the Ref holds.
type stamp struct {
	id      fileID
	modTime int64
}

const blockSize = 512

func (s *files) ref(p string, st *fileStat) filetree.Ref {
	s.stamps = append(s.stamps, stamp{id: st.id, modTime: st.modTime})
	return filetree.Ref{Path: p, Offset: int64(len(s.stamps)-1) * blockSize, Size: st.size}
}

// stamp finds the stamp of a file of this index.
func (s *files) stamp(ref filetree.Ref) (stamp, error) {
	i := ref.Offset / blockSize
	if i < 0 || i >= int64(len(s.stamps)) {
		return stamp{}, fmt.Errorf("open %q in the build context: not of this index", ref.Path)
	}
	return s.stamps[i], nil
}

// Open implements [filetree.Source].
func (s *files) Open(ctx context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	want, err := s.stamp(ref)
	if err != nil {
		return nil, err
	}
	f, err := s.open(ref, want, s.owner.stableIDs)
	if !errors.Is(err, errChanged) {
		return f, err
	}
	// The directory may have been somewhere else just now, and have moved to another layer of an overlay, which can
	// give a file another inode number.
	defer s.owner.still()()
	return s.open(ref, want, s.owner.stableIDs && !s.owner.overlay)
}

// open opens a file if it is the one that was indexed.
func (s *files) open(ref filetree.Ref, want stamp, ids bool) (io.ReadCloser, error) {
	// O_NONBLOCK: a FIFO may have taken the file's place.
	fd, err := s.owner.root.open(ref.Path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO):
		return nil, fmt.Errorf("%q %w", ref.Path, errChanged)
	case errors.Is(err, fs.ErrClosed):
		return nil, fmt.Errorf("open %q: the build context is closed", ref.Path)
	case err != nil:
		return nil, fmt.Errorf("open %q in the build context: %w", ref.Path, err)
	}
	f := &contextFile{fd: fd, ref: ref, stamp: want, ids: ids, left: ref.Size}
	if err := f.check(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// contextFile reads a file and fails unless it is, before and after, the one that was indexed. It reads by descriptor: a
// context has thousands of files, and the runtime's poller, which has no use for any, is asked twice for each [os.File].
type contextFile struct {
	mu    sync.Mutex // held while fd is used: a decompressor may still read when its file is closed
	fd    int        // negative once closed
	ref   filetree.Ref
	stamp stamp
	ids   bool // inode numbers count
	left  int64
}

// Read implements [io.Reader]. It never yields the last byte of a file that changed.
func (f *contextFile) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > f.left {
		p = p[:f.left]
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.call(func() (int, error) { return unix.Read(f.fd, p) })
	f.left -= int64(n)
	switch {
	case err != nil:
		return n, err
	case f.left == 0:
		if err := f.check(); err != nil {
			return 0, err
		}
	case n == 0:
		return 0, fmt.Errorf("%q %w", f.ref.Path, errChanged)
	}
	return n, nil
}

// call makes one system call on the open file.
func (f *contextFile) call(read func() (int, error)) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		return 0, fmt.Errorf("read %q in the build context: %w", f.ref.Path, fs.ErrClosed)
	}
	n, err := ignoringEINTR(read)
	if err != nil {
		return 0, fmt.Errorf("read %q in the build context: %w", f.ref.Path, err)
	}
	return n, nil
}

// ReadAt implements [io.ReaderAt], for archives. It yields nothing once the file has changed.
func (f *contextFile) ReadAt(p []byte, at int64) (int, error) {
	n := 0
	for n < len(p) {
		k, err := f.call(func() (int, error) { return unix.Pread(f.fd, p[n:], at+int64(n)) })
		if err != nil {
			return n, err
		}
		if k == 0 {
			break
		}
		n += k
	}
	if err := f.check(); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Close implements [io.Closer].
func (f *contextFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		return fmt.Errorf("close %q in the build context: %w", f.ref.Path, fs.ErrClosed)
	}
	fd := f.fd
	f.fd = -1
	return unix.Close(fd)
}

// check compares the file with its stamp.
func (f *contextFile) check() error {
	var st unix.Stat_t
	if _, err := f.call(func() (int, error) { return 0, unix.Fstat(f.fd, &st) }); err != nil {
		return err
	}
	var now fileStat
	now.set(&st)
	if now.typ != filetree.Regular || now.size != f.ref.Size || now.modTime != f.stamp.modTime || f.ids && now.id != f.stamp.id {
		return fmt.Errorf("%q %w", f.ref.Path, errChanged)
	}
	return nil
}

var _ filetree.Source = (*files)(nil)
