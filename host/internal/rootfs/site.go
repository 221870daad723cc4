package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// site is a directory on disk in which the files of a tree are made. Paths are those of entries; every one is resolved
// from the site's own descriptor, and a symlink on the way is an error. Metadata of directories is set last, by settleDir:
// until then they belong to the builder alone.
//
// makeFile may be called by several goroutines, all other methods by one.
type site struct {
	root *os.File
	opts Options
	dirs dirCache

	buffers sync.Pool // of *[]byte

	mu     sync.Mutex
	losses []Loss
}

// openSite opens a directory, which must exist and be empty.
func openSite(dir string, opts Options) (*site, error) {
	root, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	s := &site{root: root, opts: opts}
	if err := s.claim(); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %q: %w", dir, err), root.Close())
	}
	return s, nil
}

// claim makes sure that files made in the site get no owner, mode or access list from the directory they are made in.
func (s *site) claim() error {
	switch names, err := s.root.Readdirnames(1); {
	case len(names) > 0:
		return fmt.Errorf("directory is not empty: holds %q", names[0])
	case err != nil && !errors.Is(err, io.EOF):
		return err
	}
	if err := unix.Fremovexattr(s.fd(), "system.posix_acl_default"); err != nil && !isNoXattr(err) {
		return err
	}
	return unix.Fchmod(s.fd(), 0o700)
}

func openDir(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

func (s *site) fd() int { return int(s.root.Fd()) }

func (s *site) close() error {
	s.dirs.close()
	return s.root.Close()
}

func (s *site) lose(p, what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses = append(s.losses, Loss{Path: p, What: what, Err: err})
}

// openBeneath opens a path below a directory. No symlink is followed and no ".." leads out.
func openBeneath(dirfd int, p string, flags uint64, mode uint32) (int, error) {
	if p == "" {
		p = "."
	}
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(dirfd, p, &how)
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}

// parent is a descriptor of the directory that holds p, valid until the next but one call.
func (s *site) parent(p string) (int, string, error) {
	dir := filetree.Parent(p)
	if fd, ok := s.dirs.get(dir); ok {
		return fd, filetree.Base(p), nil
	}
	fd, err := openBeneath(s.fd(), dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, "", fmt.Errorf("open directory %q: %w", dir, err)
	}
	s.dirs.put(dir, fd)
	return fd, filetree.Base(p), nil
}

// makeFile makes a regular file of e.Size bytes, which content has to yield.
func (s *site) makeFile(e *filetree.Entry, content io.Reader) (err error) {
	fd, err := openBeneath(s.fd(), e.Path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, uint32(e.Mode&0o777))
	if err != nil {
		return fmt.Errorf("create file %q: %w", e.Path, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := s.writeContent(fd, e.Size, content); err != nil {
		return fmt.Errorf("write file %q: %w", e.Path, err)
	}
	return s.settle(fd, e)
}

// makeSmall is makeFile for content in memory.
func (s *site) makeSmall(e *filetree.Entry, content []byte) (err error) {
	fd, err := openBeneath(s.fd(), e.Path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, uint32(e.Mode&0o777))
	if err != nil {
		return fmt.Errorf("create file %q: %w", e.Path, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := writeAll(fd, content); err != nil {
		return fmt.Errorf("write file %q: %w", e.Path, err)
	}
	return s.settle(fd, e)
}

func (s *site) makeDir(p string) error {
	fd, name, err := s.parent(p)
	if err != nil {
		return err
	}
	if err := unix.Mkdirat(fd, name, 0o700); err != nil {
		return fmt.Errorf("create directory %q: %w", p, err)
	}
	return nil
}

func (s *site) makeSymlink(e *filetree.Entry) error {
	fd, name, err := s.parent(e.Path)
	if err != nil {
		return err
	}
	if e.Link == "" {
		return fmt.Errorf("create symlink %q: it has no target", e.Path)
	}
	if err := unix.Symlinkat(e.Link, fd, name); err != nil {
		return fmt.Errorf("create symlink %q: %w", e.Path, err)
	}
	return s.settleAt(fd, name, e)
}

// errWhiteoutDevice says why one character device cannot be had.
var errWhiteoutDevice = errors.New("device 0:0 is overlayfs's mark of what is deleted")

// makeNode makes a device or a FIFO. A device that may not be made is a loss.
func (s *site) makeNode(e *filetree.Entry) error {
	if e.Type == filetree.CharDevice && e.Major == 0 && e.Minor == 0 {
		s.lose(e.Path, "device node", errWhiteoutDevice)
		return nil
	}
	fd, name, err := s.parent(e.Path)
	if err != nil {
		return err
	}
	mode, dev := uint32(unix.S_IFIFO), uint64(0)
	switch e.Type {
	case filetree.CharDevice:
		mode, dev = unix.S_IFCHR, unix.Mkdev(e.Major, e.Minor)
	case filetree.BlockDevice:
		mode, dev = unix.S_IFBLK, unix.Mkdev(e.Major, e.Minor)
	}
	switch err := unix.Mknodat(fd, name, mode|uint32(e.Mode&0o777), int(dev)); {
	case errors.Is(err, unix.EPERM) && e.Type != filetree.FIFO:
		s.lose(e.Path, "device node", err)
		return nil
	case err != nil:
		return fmt.Errorf("create %s %q: %w", e.Type, e.Path, err)
	}
	return s.settleAt(fd, name, e)
}

// makeWhiteout marks a path as deleted, in overlayfs's way.
func (s *site) makeWhiteout(p string) error {
	fd, name, err := s.parent(p)
	if err != nil {
		return err
	}
	switch err := unix.Mknodat(fd, name, unix.S_IFCHR, 0); {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("create whiteout %q: %w (layers cannot be stacked on a file system that is an overlay itself: keep Trowel's state on a volume)", p, err)
	case err != nil:
		return fmt.Errorf("create whiteout %q: %w", p, err)
	}
	return nil
}

func (s *site) makeHardlink(p, target string) error {
	from, fromName, err := s.parent(target)
	if err != nil {
		return err
	}
	to, toName, err := s.parent(p)
	if err != nil {
		return err
	}
	if err := unix.Linkat(from, fromName, to, toName, 0); err != nil {
		return fmt.Errorf("create hardlink %q to %q: %w", p, target, err)
	}
	return nil
}

// remove deletes what is at p, with everything below it.
func (s *site) remove(p string) error {
	s.dirs.close() // a cached directory may be what is deleted
	fd, name, err := s.parent(p)
	if err != nil {
		return err
	}
	return removeAt(fd, name)
}

// overlayOwn says whether an extended attribute is one of overlayfs's marks, which no layer may set.
func overlayOwn(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}
