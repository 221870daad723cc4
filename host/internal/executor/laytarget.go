package executor

import (
	"errors"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// level is a directory on the way to a target.
type level struct {
	fd   int    // open as a path
	name string // in the directory above
	// made says that it was missing. It is removed again if nothing is in it; inside another mount it stays, as it would in
	// what is mounted there.
	made, stays bool
}

// spot is where a mount is laid.
type spot struct {
	path   string   // as resolved, relative to the root
	levels []*level // from the root down to the directory that holds it
	name   string
	found  bool
	stat   unix.Stat_t // of what was there
	inside bool        // another mount
}

func (s *spot) dir() int { return s.levels[len(s.levels)-1].fd }

// maxLinks is how many symlinks a path may have, as in the kernel.
const maxLinks = 40

// walk finds a target, with the root as the root of every symlink, and makes the directories that it lacks. No symlink is
// ever opened: what it says is read and followed by name.
func (l *laid) walk(target string) (*spot, error) {
	s := &spot{levels: []*level{{fd: l.root}}}
	left, links := elements(target), 0
	for len(left) > 0 {
		name := left[0]
		left = left[1:]
		if name == "." {
			continue
		}
		if name == ".." {
			s.levels = s.levels[:max(1, len(s.levels)-1)]
			continue
		}
		s.found = true
		err := unix.Fstatat(s.dir(), name, &s.stat, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			s.found, err = false, nil
		}
		if err != nil {
			return nil, failure("open mount target", target, err)
		}
		if s.found && s.stat.Mode&unix.S_IFMT == unix.S_IFLNK {
			if links++; links > maxLinks {
				return nil, failure("open mount target", target, unix.ELOOP)
			}
			to, err := readLink(s.dir(), name)
			if err != nil {
				return nil, failure("open mount target", target, err)
			}
			if path.IsAbs(to) {
				s.levels = s.levels[:1]
			}
			left = append(elements(to), left...)
			continue
		}
		if len(left) == 0 {
			s.name = name
			break
		}
		if err := l.descend(s, name); err != nil {
			return nil, failure("open mount target", target, err)
		}
	}
	if s.name == "" {
		return nil, failure("open mount target", target, errors.New("it leads to a directory that cannot be covered"))
	}
	s.inside = l.within(s)
	s.path = s.join()
	return s, nil
}

func (s *spot) join() string {
	names := make([]string, 0, len(s.levels))
	for _, v := range s.levels[1:] {
		names = append(names, v.name)
	}
	return strings.Join(append(names, s.name), "/")
}

// descend enters a directory, which it makes if it is missing.
func (l *laid) descend(s *spot, name string) error {
	made := !s.found
	if made {
		s.name = name
		if err := errors.Join(l.touch(s.dir()), l.noteAside(l.asideName(), asideStub, s.join())); err != nil {
			return err
		}
		s.name = ""
		if err := unix.Mkdirat(s.dir(), name, 0o700); err != nil {
			return err
		}
	}
	fd, err := unix.Openat(s.dir(), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	l.hold(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	v := l.levels[inodeOf(&st)]
	if v == nil {
		v = &level{fd: fd, name: name, made: made, stays: made && l.within(s)}
		l.levels[inodeOf(&st)] = v
	}
	s.levels = append(s.levels, v)
	if made {
		return chmod(fd, 0o755)
	}
	return nil
}

// within tells whether the last directory of a path lies in what was laid before.
func (l *laid) within(s *spot) bool {
	for _, v := range s.levels[1:] {
		if v.stays {
			return true
		}
		var st unix.Stat_t
		if unix.Fstat(v.fd, &st) != nil {
			continue
		}
		for _, c := range l.covers {
			var made unix.Stat_t
			if c.made >= 0 && unix.Fstat(c.made, &made) == nil && inodeOf(&made) == inodeOf(&st) {
				return true
			}
		}
	}
	return false
}

// revive makes sure that the directories on the way to a target exist. A process cannot remove a directory on the way to a
// mount: one that is gone is made again. It says whether the last one is there, which it is not if it was made for the mount
// and removed since.
func (l *laid) revive(s *spot) (bool, error) {
	for i, v := range s.levels[1:] {
		var st unix.Stat_t
		if err := unix.Fstat(v.fd, &st); err != nil {
			return false, err
		}
		if st.Nlink > 0 {
			continue // it may have been moved, which with a mount below it is possible
		}
		above := s.levels[i].fd
		fd, err := l.enterAgain(above, v, &st)
		if errors.Is(err, unix.ENOENT) && v.made && !v.stays {
			return false, nil
		}
		if err == nil && fd < 0 {
			fd, err = l.makeAgain(above, v, &st)
		}
		if err != nil {
			return false, err
		}
		v.fd = l.hold(fd)
	}
	return true, nil
}

// enterAgain opens the directory that has taken a level's place, and gives it the level's looks. What is no directory is removed: with a mount below there
// could be nothing else. The descriptor is -1 if it has to be made.
func (l *laid) enterAgain(above int, v *level, st *unix.Stat_t) (int, error) {
	fd, err := unix.Openat(above, v.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		var now unix.Stat_t
		if err := unix.Fstat(fd, &now); err != nil {
			return -1, errors.Join(err, unix.Close(fd))
		}
		now.Mode, now.Uid, now.Gid = st.Mode, st.Uid, st.Gid
		return fd, setLooks(fd, &now)
	case !errors.Is(err, unix.ENOENT):
		if err := rootfs.RemoveAt(above, v.name); err != nil {
			return -1, err
		}
	}
	if v.made && !v.stays {
		return -1, unix.ENOENT
	}
	return -1, nil
}

// makeAgain makes a directory with the looks that it had.
func (l *laid) makeAgain(above int, v *level, st *unix.Stat_t) (int, error) {
	if err := unix.Mkdirat(above, v.name, 0o700); err != nil {
		return -1, err
	}
	fd, err := unix.Openat(above, v.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := errors.Join(copyAttributes(descriptorPath(v.fd), descriptorPath(fd)), setLooks(fd, st)); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// removeStubs removes the directories that were made for a target, if nothing is in them.
func (l *laid) removeStubs(s *spot) error {
	for i := len(s.levels) - 1; i > 0; i-- {
		v, above := s.levels[i], s.levels[i-1].fd
		if !v.made || v.stays {
			continue
		}
		var held, named unix.Stat_t
		if err := unix.Fstat(v.fd, &held); err != nil {
			return err
		}
		if held.Nlink == 0 {
			continue // the process has removed it
		}
		if unix.Fstatat(above, v.name, &named, unix.AT_SYMLINK_NOFOLLOW) != nil || inodeOf(&held) != inodeOf(&named) {
			return nil // it was moved: it is the process's now
		}
		err := unix.Unlinkat(above, v.name, unix.AT_REMOVEDIR)
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
			return nil // what the process put there is its own, or another mount's: that one's removal comes later
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readLink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
