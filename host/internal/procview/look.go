//go:build amd64

package procview

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// The calls that only look. The structures that they fill are the kernel's own, so they are passed on as they are.

const (
	statSize   = 144 // struct stat of amd64
	statxSize  = 256
	statfsSize = 120
)

func (w *worker) stat(r *notify.Request, at place) {
	buffer, flags := r.Args[1], 0
	switch r.Call {
	case unix.SYS_LSTAT:
		flags = unix.AT_SYMLINK_NOFOLLOW
	case unix.SYS_NEWFSTATAT:
		buffer, flags = r.Args[2], int(r.Args[3])
	}
	if at.kind == given {
		flags = 0 // how we have it is a link
	}
	w.fill(r, at, buffer, statSize, func(dir uintptr, path, into unsafe.Pointer) unix.Errno {
		_, _, errno := unix.RawSyscall6(unix.SYS_NEWFSTATAT, dir, uintptr(path), uintptr(into), uintptr(flags), 0, 0)
		return errno
	})
}

func (w *worker) statx(r *notify.Request, at place) {
	flags := r.Args[2]
	if at.kind == given {
		flags &^= unix.AT_SYMLINK_NOFOLLOW
	}
	w.fill(r, at, r.Args[4], statxSize, func(dir uintptr, path, into unsafe.Pointer) unix.Errno {
		_, _, errno := unix.RawSyscall6(unix.SYS_STATX, dir, uintptr(path), uintptr(flags), uintptr(r.Args[3]), uintptr(into), 0)
		return errno
	})
}

func (w *worker) statfs(r *notify.Request, at place) {
	w.fill(r, at, r.Args[1], statfsSize, func(dir uintptr, path, into unsafe.Pointer) unix.Errno {
		fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, dir, uintptr(path), unix.O_PATH|unix.O_CLOEXEC, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		defer closeFD(int(fd))
		_, _, errno = unix.RawSyscall(unix.SYS_FSTATFS, fd, uintptr(into), 0)
		return errno
	})
}

// fill answers with a structure that one of our own calls fills.
func (w *worker) fill(r *notify.Request, at place, address uint64, size int,
	look func(dir uintptr, path, into unsafe.Pointer) unix.Errno,
) {
	if _, err := w.act(r); err != nil {
		w.fail(r, err)
		return
	}
	dir, path := w.where(at)
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		w.fail(r, err)
		return
	}
	var buf [statxSize]byte
	if errno := look(uintptr(dir), unsafe.Pointer(name), unsafe.Pointer(&buf[0])); errno != 0 {
		w.listener.Fail(r, errno)
		return
	}
	w.answerWith(r, address, buf[:size], 0)
}

// answerWith writes to the caller's memory and returns value.
func (w *worker) answerWith(r *notify.Request, address uint64, buf []byte, value int64) {
	if err := w.write(r, address, buf); err != nil {
		w.listener.Fail(r, unix.EFAULT)
		return
	}
	w.listener.Return(r, value)
}

func (w *worker) access(r *notify.Request, at place) {
	if _, err := w.act(r); err != nil {
		w.fail(r, err)
		return
	}
	mode, flags := uint32(r.Args[1]), 0
	switch r.Call {
	case unix.SYS_FACCESSAT:
		mode = uint32(r.Args[2])
	case unix.SYS_FACCESSAT2:
		mode, flags = uint32(r.Args[2]), int(r.Args[3])
	}
	if mode&unix.W_OK != 0 && (at.kind == mounts || at.kind == entry && !at.magic && !isNumber(firstName(at.path))) {
		w.listener.Fail(r, unix.EROFS)
		return
	}
	if at.kind == given {
		flags = 0
	}
	dir, path := w.where(at)
	// By the effective IDs, as we have the caller's only so; the kernel would take its real ones, which mostly are the same.
	if err := unix.Faccessat2(dir, path, mode, flags|unix.AT_EACCESS); err != nil {
		w.fail(r, err)
		return
	}
	w.listener.Return(r, 0)
}

func (w *worker) readlink(r *notify.Request, at place) {
	buffer, size := r.Args[1], r.Args[2]
	if r.Call == unix.SYS_READLINKAT {
		buffer, size = r.Args[2], r.Args[3]
	}
	if int32(size) <= 0 {
		w.listener.Fail(r, unix.EINVAL)
		return
	}
	id, err := w.act(r)
	if err != nil {
		w.fail(r, err)
		return
	}
	text, err := w.textOf(r, id, at)
	if err != nil {
		w.fail(r, err)
		return
	}
	out := []byte(text)[:min(uint64(len(text)), size)]
	w.answerWith(r, buffer, out, int64(len(out)))
}

// textOf is what a link in /proc says.
func (w *worker) textOf(r *notify.Request, id identity, at place) (string, error) {
	l := lookup{tgid: id.tgid, tid: int(r.TID)}
	if at.kind == mounts || at.kind == given || at.kind == entry && at.path == "" {
		return "", unix.EINVAL
	}
	if at.kind == entry && l.linkAtTop(at.path) != nil {
		return l.textOfLink(at.path), nil
	}
	if exe := w.pendingOf(id.tgid, at); exe != nil {
		if exe.path == "" {
			return "", unix.ENOENT
		}
		return exe.path, nil
	}
	dir, path := w.where(at)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, path, buf)
	if err != nil {
		return "", err
	}
	text := string(buf[:n])
	if inProc, ok := fromMirror(text); ok {
		return inProc, nil
	}
	return text, nil
}
