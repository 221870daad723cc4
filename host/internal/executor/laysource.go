package executor

import (
	"context"
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// shown is what a mount shows.
type shown struct {
	directory bool
	// fd is open as a path, -1 for what has no file to be shown.
	fd   int
	stat unix.Stat_t
	// again is where in the root file system the same files are shown already.
	again string
}

// source opens what a mount shows.
func (l *laid) source(m Mount) (shown, error) {
	switch m.Kind {
	case MountTmpfs:
		return shown{directory: true, fd: -1}, nil
	case MountFile, MountSecret, mountPlace:
		return shown{fd: -1}, nil
	case MountLayers:
		return l.layersSource(m)
	}
	key, base, err := l.base(m)
	if err != nil {
		return shown{}, err
	}
	sub := filepath.Clean("/" + m.SubPath)[1:]
	if at, ok, err := l.claimed(key, sub, m); ok || err != nil {
		return shown{directory: true, fd: -1, again: at}, err
	}
	return l.openShown(base, m)
}

// openShown opens a mount's SubPath below an open directory or file.
func (l *laid) openShown(base int, m Mount) (shown, error) {
	src := shown{fd: base}
	if m.SubPath != "" {
		fd, err := in(base, m.SubPath)
		if err != nil {
			return src, failure("open mount source", m.SubPath, err)
		}
		src.fd = l.hold(fd)
	}
	if err := unix.Fstat(src.fd, &src.stat); err != nil {
		return src, failure("open mount source", m.SubPath, err)
	}
	src.directory = src.stat.Mode&unix.S_IFMT == unix.S_IFDIR
	return src, nil
}

// layersSource opens layers of which there is one only, whose files are those of a whole root file system or of a context:
// where nothing can be mounted, a stage is one directory without whiteouts.
func (l *laid) layersSource(m Mount) (shown, error) {
	if len(m.Layers.Lowers) != 1 {
		return shown{}, failure("open mount source", m.SubPath, errors.New("layers cannot be merged without a mount"))
	}
	dir := filepath.Join(m.Layers.LayersDir, m.Layers.Lowers[0])
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return shown{}, failure("open mount source", dir, err)
	}
	return l.openShown(l.hold(fd), m)
}

// show puts what a mount shows in the place of what is hidden.
func (l *laid) show(ctx context.Context, c *cover, m Mount, src shown) error {
	switch {
	case src.again != "":
		return l.showLink(c, "/"+src.again)
	case m.Kind == MountTmpfs:
		return l.showEmpty(c, m)
	case m.Kind == MountFile:
		return l.showFile(c, m)
	case m.Kind == MountSecret:
		return l.showSecret(c, m)
	case m.Kind == mountPlace:
		return l.showLink(c, m.Target) // to itself: who gets round the server has an error, not an empty file
	case m.Kind == MountBind && !m.ReadOnly:
		return l.showKept(ctx, c, m, src)
	}
	return l.showCopy(ctx, c, src)
}

// showEmpty makes an empty directory.
func (l *laid) showEmpty(c *cover, m Mount) error {
	if m.Size > 0 {
		l.notice("the size of the tmpfs " + m.Target + " is not limited here: it is an ordinary directory")
	}
	mode := m.Mode
	if mode == 0 {
		mode = 0o1777
	}
	if err := l.makeDirectory(c); err != nil {
		return err
	}
	if c.filled {
		return nil // its looks are those of a mount of the container
	}
	return errors.Join(chown(c.made, m.UID, m.GID), chmod(c.made, mode))
}

// makeDirectory makes the directory that covers a target, unless the one that is there has to do.
func (l *laid) makeDirectory(c *cover) error {
	if c.filled {
		return nil
	}
	s := c.spot
	if err := unix.Mkdirat(s.dir(), s.name, 0o700); err != nil {
		return err
	}
	return l.holdMade(c)
}

// showFile makes a file with a given content.
func (l *laid) showFile(c *cover, m Mount) error {
	if c.filled {
		return writeBack(c.hidden.file, m.Content)
	}
	mode := m.Mode
	if mode == 0 {
		mode = 0o444
	}
	return l.makeFile(c, func(fd int) error {
		return errors.Join(writeAll(fd, m.Content), chown(fd, m.UID, m.GID), unix.Fchmod(fd, mode&0o7777))
	})
}

// makeFile makes the file that covers a target, and lets it be written. It is not held open for that: a script that somebody
// may write to cannot be executed.
func (l *laid) makeFile(c *cover, write func(fd int) error) error {
	s := c.spot
	fd, err := unix.Openat(s.dir(), s.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(write(fd), unix.Close(fd)); err != nil {
		return err
	}
	return l.holdMade(c)
}

// holdMade keeps what was made at a target in sight.
func (l *laid) holdMade(c *cover) error {
	fd, err := unix.Openat(c.spot.dir(), c.spot.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.made = l.hold(fd)
	return nil
}

// showLink makes a symlink.
func (l *laid) showLink(c *cover, to string) error {
	s := c.spot
	if c.filled {
		return errInTheWay
	}
	if err := unix.Symlinkat(to, s.dir(), s.name); err != nil {
		return err
	}
	return l.holdMade(c)
}

// showCopy shows a copy, which is thrown away with all that was written to it.
func (l *laid) showCopy(ctx context.Context, c *cover, src shown) error {
	switch src.stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := l.makeDirectory(c); err != nil {
			return err
		}
		return copyDirectory(ctx, src.fd, c.made)
	case unix.S_IFSOCK:
		return l.showSocket(ctx, c, src)
	}
	if c.filled {
		return errInTheWay
	}
	return l.copyFile(c, src)
}

// copyFile makes a copy of what is no directory.
func (l *laid) copyFile(c *cover, src shown) error {
	if src.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("it is neither a directory nor a file nor a socket")
	}
	from, err := unix.Open(descriptorPath(src.fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = l.makeFile(c, func(fd int) error { return copyInto(from, fd, &src.stat) })
	return errors.Join(err, unix.Close(from))
}

// errInTheWay says that a mount of the container's cannot be covered by this kind.
var errInTheWay = errors.New("the container has something mounted there")

func writeAll(fd int, content []byte) error {
	for len(content) > 0 {
		n, err := unix.Write(fd, content)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		content = content[max(n, 0):]
	}
	return nil
}
