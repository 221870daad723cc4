package box

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func remove(i *invocation) error {
	return i.each(func(path string) error {
		if i.has('r') {
			return os.RemoveAll(path)
		}
		if err := os.Remove(path); err != nil && !(i.has('f') && errors.Is(err, os.ErrNotExist)) {
			return err
		}
		return nil
	})
}

// mode is the value of -m.
func (i *invocation) mode(otherwise uint32) (uint32, error) {
	if !i.has('m') {
		return otherwise, nil
	}
	m, err := strconv.ParseUint(i.options['m'], 8, 32)
	return uint32(m), err
}

func makeDirectory(i *invocation) error {
	mode, err := i.mode(0o755)
	if err != nil {
		return err
	}
	return i.each(func(path string) error {
		make := os.Mkdir
		if i.has('p') {
			make = os.MkdirAll
		}
		if err := make(path, 0o755); err != nil || !i.has('m') {
			return err
		}
		return unix.Chmod(path, mode)
	})
}

// touch makes files, or gives them the time of -d; with -h a symlink itself.
func touch(i *invocation) error {
	when := time.Now()
	if i.has('d') {
		var err error
		if when, err = parseTime(i.options['d']); err != nil {
			return err
		}
	}
	return i.below(i.args, func(path string) error {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
		}
		flags := 0
		if i.has('h') {
			flags = unix.AT_SYMLINK_NOFOLLOW
		}
		t := unix.NsecToTimespec(when.UnixNano())
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{t, t}, flags)
	})
}

// destination is where a command puts its operand.
func (i *invocation) destination(source string) string {
	to := i.path(i.args[len(i.args)-1])
	if info, err := os.Stat(to); err == nil && info.IsDir() {
		return filepath.Join(to, filepath.Base(source))
	}
	return to
}

// move renames. An overlay refuses to rename a directory of a lower layer, which is then copied.
func move(i *invocation) error {
	for _, name := range i.args[:len(i.args)-1] {
		from, to := i.path(name), i.destination(name)
		err := os.Rename(from, to)
		if errors.Is(err, unix.EXDEV) {
			err = errors.Join(copyTree(from, to), os.RemoveAll(from))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyTree copies directories, regular files and links with mode, owner and time.
func copyTree(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		return errors.Join(err, os.Symlink(target, to), os.Lchown(to, int(st.Uid), int(st.Gid)))
	case unix.S_IFREG:
		text, err := os.ReadFile(from)
		if err := errors.Join(err, os.WriteFile(to, text, 0o600)); err != nil {
			return err
		}
	case unix.S_IFDIR:
		entries, err := os.ReadDir(from)
		if err := errors.Join(err, os.Mkdir(to, 0o700)); err != nil {
			return err
		}
		for _, e := range entries {
			if err := copyTree(from+"/"+e.Name(), to+"/"+e.Name()); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%s is a special file", from)
	}
	when := time.Unix(st.Mtim.Unix())
	return errors.Join(os.Lchown(to, int(st.Uid), int(st.Gid)), unix.Chmod(to, st.Mode&0o7777), os.Chtimes(to, when, when))
}

func link(i *invocation) error {
	if i.has('s') {
		return os.Symlink(i.args[0], i.path(i.args[1]))
	}
	return os.Link(i.path(i.args[0]), i.destination(i.args[0]))
}

// copyFile copies a file; -p keeps mode, owner, time and capabilities.
func copyFile(i *invocation) error {
	from, to := i.path(i.args[0]), i.destination(i.args[0])
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, os.FileMode(st.Mode&0o777))
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil || !i.has('p') {
		return err
	}
	if err := errors.Join(os.Lchown(to, int(st.Uid), int(st.Gid)), unix.Chmod(to, st.Mode&0o7777)); err != nil {
		return err
	}
	var capability [64]byte
	if n, err := unix.Getxattr(from, "security.capability", capability[:]); err == nil {
		if err := unix.Setxattr(to, "security.capability", capability[:n], 0); err != nil {
			return err
		}
	}
	return os.Chtimes(to, time.Unix(st.Mtim.Unix()), time.Unix(st.Mtim.Unix()))
}

// below does something with files, and with all below them for -R.
func (i *invocation) below(names []string, do func(path string) error) error {
	for _, a := range names {
		if !i.has('R') {
			if err := do(i.path(a)); err != nil {
				return err
			}
			continue
		}
		err := filepath.WalkDir(i.path(a), func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return do(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func changeMode(i *invocation) error {
	mode, err := strconv.ParseUint(i.args[0], 8, 32)
	if err != nil {
		return err
	}
	return i.below(i.args[1:], func(path string) error { return unix.Chmod(path, uint32(mode)) })
}

// changeOwner is chown, which never follows a link, as with -h.
func changeOwner(i *invocation) error {
	uid, gid, both := strings.Cut(i.args[0], ":")
	u, err := strconv.Atoi(uid)
	g, gerr := -1, error(nil)
	if both {
		g, gerr = strconv.Atoi(gid)
	}
	if err := errors.Join(err, gerr); err != nil {
		return err
	}
	return i.below(i.args[1:], func(path string) error { return os.Lchown(path, u, g) })
}

func makeFIFO(i *invocation) error {
	mode, err := i.mode(0o644)
	if err != nil {
		return err
	}
	return i.each(func(path string) error { return errors.Join(unix.Mkfifo(path, mode), unix.Chmod(path, mode)) })
}

// makeNode is `mknod PATH c|b MAJOR MINOR`.
func makeNode(i *invocation) error {
	mode, err := i.mode(0o644)
	if err != nil {
		return err
	}
	if len(i.args) != 4 {
		return errors.New("want PATH c|b MAJOR MINOR")
	}
	major, err := strconv.ParseUint(i.args[2], 10, 32)
	minor, merr := strconv.ParseUint(i.args[3], 10, 32)
	if err := errors.Join(err, merr); err != nil {
		return err
	}
	kind := uint32(unix.S_IFCHR)
	if i.args[1] == "b" {
		kind = unix.S_IFBLK
	}
	path := i.path(i.args[0])
	return errors.Join(unix.Mknod(path, kind|mode, int(unix.Mkdev(uint32(major), uint32(minor)))), unix.Chmod(path, mode))
}

// setAttribute is `xattr NAME HEX FILE`.
func setAttribute(i *invocation) error {
	value, err := hex.DecodeString(i.args[1])
	if err != nil {
		return err
	}
	return unix.Setxattr(i.path(i.args[2]), i.args[0], value, 0)
}

// makeSocket leaves a socket behind that nobody listens on.
func makeSocket(i *invocation) error {
	return i.each(func(path string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		l.SetUnlinkOnClose(false)
		return l.Close()
	})
}
