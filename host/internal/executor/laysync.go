package executor

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// syncer makes one directory equal to another that began as its copy, writing only what changed since.
type syncer struct {
	since unix.Timespec
	add   bool // leave what only the older one has
}

func (s *syncer) directory(from, to *os.File) error {
	names := map[string]bool{}
	err := eachEntry(from, func(name string) error {
		names[name] = true
		return s.entry(int(from.Fd()), int(to.Fd()), name)
	})
	if err != nil || s.add {
		return err
	}
	return eachEntry(to, func(name string) error {
		if names[name] {
			return nil
		}
		return rootfs.RemoveAt(int(to.Fd()), name)
	})
}

func (s *syncer) entry(from, to int, name string) error {
	var st, old unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	err := unix.Fstatat(to, name, &old, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	found := err == nil
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return s.subdirectory(from, to, name, found && old.Mode&unix.S_IFMT == unix.S_IFDIR)
	}
	if found && s.unchanged(&st, &old) {
		return nil
	}
	if found {
		// A changed file takes the place of the old one in one step, unless that is a directory.
		if err := rootfs.RemoveAt(to, incoming); err != nil {
			return err
		}
		if err := copyEntry(from, name, to, incoming, &st); err != nil {
			return err
		}
		if old.Mode&unix.S_IFMT == unix.S_IFDIR {
			if err := rootfs.RemoveAt(to, name); err != nil {
				return err
			}
		}
		return unix.Renameat(to, incoming, to, name)
	}
	return copyEntry(from, name, to, name, &st)
}

// incoming is the name of a file that is not complete.
const incoming = ".trowel-incoming"

// unchanged goes by what cannot be set back: the time of the last change to the file's inode.
func (s *syncer) unchanged(st, old *unix.Stat_t) bool {
	untouched := st.Ctim.Sec < s.since.Sec || st.Ctim.Sec == s.since.Sec && st.Ctim.Nsec < s.since.Nsec
	return untouched && st.Mode == old.Mode && st.Uid == old.Uid && st.Gid == old.Gid && st.Size == old.Size && st.Mtim == old.Mtim
}

func (s *syncer) subdirectory(from, to int, name string, found bool) error {
	if !found {
		if err := errors.Join(rootfs.RemoveAt(to, name), unix.Mkdirat(to, name, 0o700)); err != nil {
			return err
		}
	}
	return inDirectory(from, name, func(src *os.File) error {
		return inDirectory(to, name, func(dst *os.File) error {
			if err := s.directory(src, dst); err != nil {
				return err
			}
			var st unix.Stat_t
			if err := unix.Fstat(int(src.Fd()), &st); err != nil {
				return err
			}
			return setLooks(int(dst.Fd()), &st)
		})
	})
}
