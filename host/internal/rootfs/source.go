package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// DirSource reads files from a directory on disk: a layer's, or what a process changed. Its descriptor is freed by Close,
// or with the last reference.
type DirSource struct {
	root   *os.File
	growth growth
}

// growth says what becomes of a file that grew since it was promised.
type growth string

const (
	growthRefused growth = ""
	growthIgnored growth = "ignored"
)

// OpenSource opens a directory as a source.
func OpenSource(dir string) (*DirSource, error) {
	root, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	return &DirSource{root: root}, nil
}

// OpenLiveSource opens a directory that others than the builder may write to: of a file that grew it yields what was promised.
// One that shrank or vanished is an error all the same.
func OpenLiveSource(dir string) (*DirSource, error) {
	s, err := OpenSource(dir)
	if err == nil {
		s.growth = growthIgnored
	}
	return s, err
}

// Close frees the directory's descriptor. Files that are open stay open.
func (s *DirSource) Close() error { return s.root.Close() }

// Open opens a regular file of ref.Size bytes. No symlink is followed.
func (s *DirSource) Open(ctx context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open %q: %w", ref.Path, err)
	}
	conn, err := s.root.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", ref.Path, err)
	}
	var fd int
	var openErr error
	// Control keeps the directory open meanwhile.
	if err := conn.Control(func(root uintptr) {
		fd, openErr = openBeneath(int(root), ref.Path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	}); err != nil {
		return nil, fmt.Errorf("open %q: %w", ref.Path, err)
	}
	if openErr != nil {
		return nil, fmt.Errorf("open %q: %w", ref.Path, openErr)
	}
	if err := s.checkRegular(fd, ref.Size); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open %q: %w", ref.Path, err)
	}
	return &sizedFile{fd: fd, path: ref.Path, left: ref.Size, growth: s.growth}, nil
}

func (s *DirSource) checkRegular(fd int, size int64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("not a regular file")
	}
	if st.Size != size && (st.Size < size || s.growth == growthRefused) {
		return fmt.Errorf("file has %d bytes instead of %d: it was changed meanwhile", st.Size, size)
	}
	return nil
}

// sizedFile yields exactly as many bytes as were promised. It reads by descriptor, without the runtime's poller, which has
// no use for regular files.
type sizedFile struct {
	fd   int
	path string
	left int64

	growth growth
}

func (f *sizedFile) Read(b []byte) (int, error) {
	if f.fd < 0 {
		return 0, fmt.Errorf("read %q: %w", f.path, os.ErrClosed)
	}
	if len(b) == 0 {
		return 0, nil
	}
	if f.left == 0 {
		return 0, f.checkEnd()
	}
	b = b[:min(int64(len(b)), f.left)]
	for {
		n, err := unix.Read(f.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("read %q: %w", f.path, err)
		case n == 0:
			return 0, fmt.Errorf("read %q: %d bytes are missing: it was changed meanwhile: %w", f.path, f.left, io.ErrUnexpectedEOF)
		}
		f.left -= int64(n)
		return n, nil
	}
}

// checkEnd is io.EOF where the file ends as well.
func (f *sizedFile) checkEnd() error {
	if f.growth == growthIgnored {
		return io.EOF
	}
	var more [1]byte
	switch n, err := unix.Read(f.fd, more[:]); {
	case err != nil:
		return fmt.Errorf("read %q: %w", f.path, err)
	case n > 0:
		return fmt.Errorf("read %q: it grew meanwhile", f.path)
	}
	return io.EOF
}

func (f *sizedFile) Close() error {
	if f.fd < 0 {
		return fmt.Errorf("close %q: %w", f.path, os.ErrClosed)
	}
	fd := f.fd
	f.fd = -1
	return unix.Close(fd)
}

var _ filetree.Source = (*DirSource)(nil)
