//go:build amd64

package procview

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// The calls that change something: what a link in /proc leads to, since /proc itself is nobody's to change.

// chdir cannot be done for another process. The kernel finds a directory of the mirror's kind at the very path that the
// caller gave, if it is one of /proc's own, and what comes from there with a relative path leads to us.
func (w *worker) chdir(r *notify.Request, at place) {
	if _, err := w.act(r); err != nil {
		w.fail(r, err)
		return
	}
	dir, path := w.where(at)
	var st unix.Stat_t
	err := unix.Fstatat(dir, path, &st, 0)
	switch {
	case err != nil:
		w.fail(r, err)
		return
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		w.listener.Fail(r, unix.ENOTDIR)
		return
	case at.kind == entry && !at.magic:
		if err := w.makeReal(); err != nil {
			w.fail(r, err)
			return
		}
		w.inProc.Store(true)
	}
	w.listener.Continue(r) // through a link that only the real /proc has it fails
}

// makeReal makes the directory that the caller named, where the kernel will look for it.
func (w *worker) makeReal() error {
	path := string(w.pathOf())
	if !strings.HasPrefix(path, "/proc/") || strings.Contains(path, "..") {
		return nil // /proc itself is there; the rest is not served
	}
	if err := w.asOurselves(); err != nil {
		return err
	}
	dir, _, err := makeDirectories(strings.TrimRight(path, "/") + "/.")
	if err == nil {
		closeFD(dir)
	}
	return err
}

// makeDirectories makes the directories of a path below /proc, without following links, and opens the last one.
func makeDirectories(path string) (dir int, name string, err error) {
	dir, err = unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	names := strings.Split(strings.TrimPrefix(path, "/proc/"), "/")
	for _, part := range names[:len(names)-1] {
		if part == "" || part == "." {
			continue
		}
		_ = unix.Mkdirat(dir, part, 0o555)
		next, err := unix.Openat(dir, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		closeFD(dir)
		if err != nil {
			return -1, "", err
		}
		dir = next
	}
	return dir, names[len(names)-1], nil
}

// chmod changes what a link leads to: the C library changes a mode by descriptor so.
func (w *worker) chmod(r *notify.Request, at place) {
	mode := uint32(r.Args[1])
	if r.Call != unix.SYS_CHMOD {
		mode = uint32(r.Args[2])
	}
	w.change(r, at, func(dir int, path string) error { return unix.Fchmodat(dir, path, mode, 0) })
}

func (w *worker) utimes(r *notify.Request, at place) {
	var times *[2]unix.Timespec
	if r.Args[2] != 0 {
		times = new([2]unix.Timespec)
		buf := (*[unsafe.Sizeof(*times)]byte)(unsafe.Pointer(times))
		if err := w.readInto(r, r.Args[2], buf[:]); err != nil {
			w.fail(r, unix.EFAULT)
			return
		}
	}
	w.change(r, at, func(dir int, path string) error {
		name, err := unix.BytePtrFromString(path)
		if err != nil {
			return err
		}
		_, _, errno := unix.RawSyscall6(unix.SYS_UTIMENSAT, uintptr(dir), uintptr(unsafe.Pointer(name)),
			uintptr(unsafe.Pointer(times)), uintptr(r.Args[3]), 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}

// change does something to what a path leads to, unless it is /proc itself.
func (w *worker) change(r *notify.Request, at place, do func(dir int, path string) error) {
	if _, err := w.act(r); err != nil {
		w.fail(r, err)
		return
	}
	if at.kind != elsewhere && !at.magic || at.kind == given {
		w.listener.Fail(r, unix.EPERM)
		return
	}
	dir, path := w.where(at)
	if err := do(dir, path); err != nil {
		w.fail(r, err)
		return
	}
	w.listener.Return(r, 0)
}

// link gives a file that has no name one, the way it is done without privileges.
func (w *worker) link(r *notify.Request, at place) {
	name, err := w.readString(r, r.Args[3], &w.second)
	if err != nil {
		w.fail(r, err)
		return
	}
	target, dir := string(name), unix.AT_FDCWD
	if !strings.HasPrefix(target, "/") {
		dir = w.proc
		if from := int32(r.Args[2]); from == unix.AT_FDCWD {
			target = fmt.Sprintf("%d/cwd/%s", r.TID, target)
		} else {
			target = fmt.Sprintf("%d/fd/%d/%s", r.TID, from, target)
		}
	}
	w.change(r, at, func(old int, path string) error {
		return unix.Linkat(old, path, dir, target, unix.AT_SYMLINK_FOLLOW)
	})
}

// refuseLink answers who wants to make a symlink in /proc.
func (w *worker) refuseLink(r *notify.Request, _ place) { w.listener.Fail(r, unix.EPERM) }

// refuseAttributes answers as /proc does. Those of what a link leads to are not served.
func (w *worker) refuseAttributes(r *notify.Request, _ place) { w.listener.Fail(r, unix.EOPNOTSUPP) }
