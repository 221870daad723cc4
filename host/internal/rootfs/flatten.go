package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxLowers is how many layers are stacked by overlayfs at most; the kernel's own limit is 500. Of more, the lowest are
// merged by [Flatten].
const MaxLowers = 400

// Flatten merges directories in overlayfs's form, the topmost first and the last one lying on nothing, into one existing,
// empty directory of the same file system. Files become hardlinks of what they were: the directories must not be written
// to afterwards, and can be deleted.
func Flatten(ctx context.Context, dir string, lowers []string, form Form) (err error) {
	s, err := openSite(dir, Options{Form: form})
	if err != nil {
		return fmt.Errorf("merge layer directories: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for i := len(lowers) - 1; i >= 0; i-- {
		f := flattener{form: form, cancelled: ctx.Err}
		if err := f.layer(lowers[i], s.root); err != nil {
			return fmt.Errorf("merge layer directory %q: %w", lowers[i], err)
		}
	}
	return nil
}

// flattener puts one layer directory on what is merged already.
type flattener struct {
	form      Form
	cancelled func() error
}

func (f *flattener) layer(lower string, into *os.File) error {
	src, err := openDir(lower)
	if err != nil {
		return err
	}
	return errors.Join(f.dir(src, into, ""), src.Close())
}

// dir merges an open directory into another. Metadata comes last, for its entries change the time.
func (f *flattener) dir(src, into *os.File, p string) error {
	names, err := src.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("read directory %q: %w", p, err)
	}
	for _, name := range names {
		if err := f.cancelled(); err != nil {
			return err
		}
		if err := f.entry(src, into, name, strings.TrimPrefix(p+"/"+name, "/")); err != nil {
			return err
		}
	}
	return copyDirMeta(int(src.Fd()), int(into.Fd()), p)
}

func (f *flattener) entry(src, into *os.File, name, p string) error {
	from, to := int(src.Fd()), int(into.Fd())
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat %q: %w", p, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return f.subdirectory(from, to, name, p)
	}
	if err := removeAt(to, name); err != nil {
		return fmt.Errorf("replace %q: %w", p, err)
	}
	if isWhiteout(&st) {
		return nil
	}
	if err := unix.Linkat(from, name, to, name, 0); err != nil {
		return fmt.Errorf("create hardlink %q: %w", p, err)
	}
	return nil
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

func (f *flattener) subdirectory(from, to int, name, p string) (err error) {
	src, err := openChild(from, name)
	if err != nil {
		return fmt.Errorf("open directory %q: %w", p, err)
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	var mark [1]byte
	n, err := unix.Fgetxattr(int(src.Fd()), f.form.Prefix()+"opaque", mark[:])
	if err != nil && !isNoXattr(err) {
		return fmt.Errorf("read whether %q is opaque: %w", p, err)
	}
	var st unix.Stat_t
	err = unix.Fstatat(to, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	missing := errors.Is(err, unix.ENOENT)
	if err != nil && !missing {
		return fmt.Errorf("stat %q: %w", p, err)
	}
	if opaque := n == 1 && mark[0] == 'y'; !missing && (opaque || st.Mode&unix.S_IFMT != unix.S_IFDIR) {
		if err := removeAt(to, name); err != nil {
			return fmt.Errorf("replace %q: %w", p, err)
		}
		missing = true
	}
	if missing {
		if err := unix.Mkdirat(to, name, 0o700); err != nil {
			return fmt.Errorf("create directory %q: %w", p, err)
		}
	}
	into, err := openChild(to, name)
	if err != nil {
		return fmt.Errorf("open directory %q: %w", p, err)
	}
	return errors.Join(f.dir(src, into, p), into.Close())
}

func openChild(dirfd int, name string) (*os.File, error) {
	fd, err := openBeneath(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// copyDirMeta makes one directory look like another. Attributes that only the lower of two merged directories has go.
func copyDirMeta(from, to int, p string) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return fmt.Errorf("stat %q: %w", p, err)
	}
	if err := unix.Fchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("set owner of %q: %w", p, err)
	}
	if err := copyXattrs(from, to); err != nil {
		return fmt.Errorf("copy extended attributes of %q: %w", p, err)
	}
	if err := unix.Fchmod(to, st.Mode&0o7777); err != nil {
		return fmt.Errorf("set mode of %q: %w", p, err)
	}
	if err := unix.UtimesNanoAt(to, "", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set modification time of %q: %w", p, err)
	}
	return nil
}

func copyXattrs(from, to int) error {
	stale, err := xattrNames(to)
	if err != nil {
		return err
	}
	for _, name := range stale {
		if err := unix.Fremovexattr(to, name); err != nil && !isNoXattr(err) {
			return err
		}
	}
	names, err := xattrNames(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		value := make([]byte, 64<<10) // the kernel's limit, XATTR_SIZE_MAX
		n, err := unix.Fgetxattr(from, name, value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := unix.Fsetxattr(to, name, value[:n], 0); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// xattrNames lists a file's extended attributes but for overlayfs's own and those that the kernel alone sets.
func xattrNames(fd int) ([]string, error) {
	size, err := unix.Flistxattr(fd, nil)
	if size == 0 || isNoXattr(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := make([]byte, size)
	n, err := unix.Flistxattr(fd, list)
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if name != "" && !overlayOwn(name) && name != "security.selinux" {
			names = append(names, name)
		}
	}
	return names, nil
}
