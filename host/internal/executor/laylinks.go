package executor

import (
	"errors"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// Between a mount and the rest no hardlink can be made. Between a directory that was moved in and the rest it can, and then
// who writes to one later writes to the other: another build's image, say. So such files are made two.

// separate copies the files of a directory that have names elsewhere too. Only files changed since a time are looked at.
func separate(dir *os.File, since unix.Timespec) error {
	s := separator{since: since, names: map[inode][]string{}, links: map[inode]uint64{}}
	if err := s.walk(dir, ""); err != nil {
		return err
	}
	for file, names := range s.names {
		if uint64(len(names)) < s.links[file] {
			if err := renew(dir, names); err != nil {
				return err
			}
		}
	}
	return nil
}

type separator struct {
	since unix.Timespec
	names map[inode][]string
	links map[inode]uint64
}

func (s *separator) walk(dir *os.File, at string) error {
	return eachEntry(dir, func(name string) error {
		var st unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			return inDirectory(int(dir.Fd()), name, func(sub *os.File) error { return s.walk(sub, path.Join(at, name)) })
		case unix.S_IFLNK:
			return nil // nobody writes to one
		}
		if st.Nlink > 1 && (st.Ctim.Sec > s.since.Sec || st.Ctim.Sec == s.since.Sec && st.Ctim.Nsec >= s.since.Nsec) {
			s.names[inodeOf(&st)] = append(s.names[inodeOf(&st)], path.Join(at, name))
			s.links[inodeOf(&st)] = uint64(st.Nlink) //nolint:unconvert // differs by platform
		}
		return nil
	})
}

// renew makes a file anew under all its names in a directory.
func renew(dir *os.File, names []string) error {
	top := int(dir.Fd())
	for i, name := range names {
		parent, err := resolve(top, path.Dir(name), unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
		if err != nil {
			return err
		}
		base := path.Base(name)
		var st unix.Stat_t
		err = errors.Join(rootfs.RemoveAt(parent, incoming), unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW))
		switch {
		case err != nil:
		case i == 0:
			err = copyEntry(parent, base, parent, incoming, &st)
		default:
			err = unix.Linkat(top, names[0], parent, incoming, 0)
		}
		if err == nil {
			err = keepingTimes(parent, func() error { return unix.Renameat(parent, incoming, parent, base) })
		}
		if err = errors.Join(err, unix.Close(parent)); err != nil {
			return err
		}
	}
	return nil
}

// keepingTimes does something in a directory that shall not change its times.
func keepingTimes(dir int, f func() error) error {
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		return err
	}
	return errors.Join(f(), setTimes(dir, []unix.Timespec{st.Atim, st.Mtim}))
}
