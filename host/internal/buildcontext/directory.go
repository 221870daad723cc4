package buildcontext

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// directory is an open directory below which paths are resolved by descriptor.
type directory struct {
	fd int

	mu     sync.RWMutex // held for reading while fd is used
	closed bool
}

// openRoot opens a directory that the user named. Symlinks in its path are the user's own and followed.
func openRoot(dir string) (*directory, error) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	return &directory{fd: fd}, nil
}

func (d *directory) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	return unix.Close(d.fd)
}

// open opens the file at a clean relative path ("" is the directory itself) without following any symlink.
func (d *directory) open(p string, flags int) (int, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return -1, fs.ErrClosed
	}
	if p == "" {
		p = "."
	}
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := ignoringEINTR(func() (int, error) { return unix.Openat2(d.fd, p, &how) })
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		// Old seccomp profiles of container engines refuse openat2 with either.
		return d.openStepwise(p, flags)
	}
	return fd, err
}

// openStepwise is open for where openat2 may not be called: it walks one element at a time.
func (d *directory) openStepwise(p string, flags int) (int, error) {
	at := d.fd
	for {
		name, rest, more := strings.Cut(p, "/")
		how := flags
		if more {
			how = unix.O_PATH | unix.O_DIRECTORY
		}
		next, err := ignoringEINTR(func() (int, error) {
			return unix.Openat(at, name, how|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		})
		if at != d.fd {
			err = errors.Join(err, unix.Close(at))
		}
		if err != nil || !more {
			return next, err
		}
		at, p = next, rest
	}
}

// openInside opens a file for reading, following symlinks as if the directory were the root directory.
func (d *directory) openInside(p string) (*os.File, error) {
	at := p
	for range maxLinks {
		real, err := d.follow(at)
		if err != nil {
			return nil, err
		}
		fd, err := d.open(real, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
		if errors.Is(err, unix.ELOOP) {
			at = real // it became a symlink since
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), p), nil
	}
	return nil, unix.ELOOP
}

// stat describes the file at a path, following symlinks inside the directory.
func (d *directory) stat(p string) (*unix.Stat_t, error) {
	real, err := d.follow(p)
	if err != nil {
		return nil, err
	}
	return d.lstat(real)
}

// lstat describes the file at a path that holds no symlink but perhaps the last element.
func (d *directory) lstat(p string) (*unix.Stat_t, error) {
	fd, err := d.open(p, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return &st, errors.Join(err, unix.Close(fd))
}

// readlink is the target of the symlink at p, or "" if p is something else.
func (d *directory) readlink(p string) (string, error) {
	fd, err := d.open(p, unix.O_PATH)
	if err != nil {
		return "", err
	}
	target, err := readlinkat(fd, "")
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // what readlinkat of a descriptor says of other files
		target, err = "", nil
	}
	return target, errors.Join(err, unix.Close(fd))
}

func readlinkat(fd int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := ignoringEINTR(func() (int, error) { return unix.Readlinkat(fd, name, buf) })
		if err != nil || n < size {
			return string(buf[:max(n, 0)]), err
		}
	}
}

func ignoringEINTR[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}

func defaultWorkers() int { return 2 * runtime.GOMAXPROCS(0) }
