//go:build amd64

package procview

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// opening is what a caller asks for.
type opening struct {
	flags int
	mode  uint32
}

func (w *worker) openOld(r *notify.Request, at place) {
	w.open(r, at, opening{int(int32(r.Args[1])), uint32(r.Args[2])})
}

func (w *worker) create(r *notify.Request, at place) {
	w.open(r, at, opening{unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC, uint32(r.Args[1])})
}

func (w *worker) openAt(r *notify.Request, at place) {
	w.open(r, at, opening{int(int32(r.Args[2])), uint32(r.Args[3])})
}

// openAt2 serves struct open_how as of Linux 5.6. Where a path must not leave a directory or follow links, none does that
// leads here.
func (w *worker) openAt2(r *notify.Request, at place) {
	var how [24]byte
	if err := w.readInto(r, r.Args[2], how[:]); err != nil {
		w.fail(r, unix.EFAULT)
		return
	}
	const inside = unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_XDEV
	switch resolve := binary.LittleEndian.Uint64(how[16:]); {
	case resolve&inside != 0:
		w.listener.Fail(r, unix.EXDEV)
	case resolve&(unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS) != 0 && at.magic:
		w.listener.Fail(r, unix.ELOOP)
	default:
		w.open(r, at, opening{int(binary.LittleEndian.Uint64(how[:])), uint32(binary.LittleEndian.Uint64(how[8:]))})
	}
}

// open answers a call that opens a file.
func (w *worker) open(r *notify.Request, at place, o opening) {
	id, err := w.act(r)
	if err != nil {
		w.fail(r, err)
		return
	}
	o.mode &^= id.umask
	if at.kind == given {
		o.flags &^= unix.O_NOFOLLOW
	}
	if at.kind == mounts {
		w.openMounts(r, at, o)
		return
	}
	if exe := w.pendingOf(id.tgid, at); exe != nil {
		w.give(r, exe.fd, 0, true)
		return
	}
	if at.kind == entry && !at.magic && writes(o.flags) && !isNumber(firstName(at.path)) {
		w.listener.Fail(r, unix.EROFS)
		return
	}
	dir, path := w.where(at)
	var st unix.Stat_t
	err = unix.Fstatat(dir, path, &st, statFlags(o.flags))
	kind := st.Mode & unix.S_IFMT
	switch {
	case err != nil && (!errors.Is(err, unix.ENOENT) || o.flags&unix.O_CREAT == 0):
		w.fail(r, err)
	case err == nil && kind == unix.S_IFLNK:
		w.listener.Fail(r, unix.ELOOP)
	case err == nil && o.flags&unix.O_CREAT != 0 && o.flags&unix.O_EXCL != 0:
		w.listener.Fail(r, unix.EEXIST)
	case err == nil && at.kind == entry && !at.magic && kind == unix.S_IFDIR:
		w.openDirectory(r, at, o)
	case err != nil || kind == unix.S_IFREG || kind == unix.S_IFDIR:
		w.openFile(r, at, o)
	default: // a pipe, a terminal, a device: it may wait for somebody
		w.slowly(r, func(w *worker, r *notify.Request) {
			if _, err := w.act(r); err != nil {
				w.fail(r, err)
				return
			}
			w.openFile(r, at, o)
		})
	}
}

// where gives a place to calls of ours.
func (w *worker) where(at place) (dir int, path string) {
	switch {
	case at.kind == elsewhere:
		return unix.AT_FDCWD, at.path
	case at.path == "":
		return w.proc, "."
	}
	return w.proc, at.path
}

func firstName(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

func writes(flags int) bool {
	return flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0
}

func statFlags(flags int) int {
	if flags&unix.O_NOFOLLOW != 0 {
		return unix.AT_SYMLINK_NOFOLLOW
	}
	return 0
}

// openFile opens what is no directory of /proc.
func (w *worker) openFile(r *notify.Request, at place, o opening) {
	dir, path := w.where(at)
	flags := o.flags&^unix.O_PATH | unix.O_CLOEXEC | unix.O_NOCTTY // a descriptor of a mere path cannot be handed over
	fd, err := unix.Openat(dir, path, flags, o.mode&0o7777)
	if err != nil {
		w.fail(r, err)
		return
	}
	defer closeFD(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		w.fail(r, err)
		return
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		w.give(r, fd, 0, o.flags&unix.O_CLOEXEC != 0)
		return
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type == unix.PROC_SUPER_MAGIC {
		w.listener.Fail(r, unix.EACCES) // see doc.go
		return
	}
	target := 0
	if name, err := w.linkOf(fmt.Sprintf("self/fd/%d", fd)); err == nil {
		if _, mirrored := fromMirror(name); mirrored {
			target = w.highNumber(r)
		}
	}
	w.give(r, fd, target, o.flags&unix.O_CLOEXEC != 0)
}

// openDirectory opens the mirror of a directory that the caller may open.
func (w *worker) openDirectory(r *notify.Request, at place, o opening) {
	if writes(o.flags) || o.flags&unix.O_CREAT != 0 {
		w.listener.Fail(r, unix.EISDIR)
		return
	}
	dir, path := w.where(at)
	real, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		w.fail(r, err)
		return
	}
	defer closeFD(real)
	target := w.highNumber(r)
	fd, err := w.reflect(at.path, real)
	if err != nil {
		w.fail(r, err)
		return
	}
	defer closeFD(fd)
	w.give(r, fd, target, o.flags&unix.O_CLOEXEC != 0)
}

// duplicate keeps a directory of the mirror at high numbers: find(1), for one, goes on with a copy.
func (w *worker) duplicate(r *notify.Request) {
	if command := uint32(r.Args[1]); r.Call == unix.SYS_FCNTL && command != unix.F_DUPFD && command != unix.F_DUPFD_CLOEXEC {
		w.listener.Continue(r)
		return
	}
	path, ok := w.directory(r, fmt.Sprintf("fd/%d", uint32(r.Args[0])))
	if !ok {
		w.listener.Continue(r)
		return
	}
	dir, err := openMirror(strings.Trim(strings.TrimPrefix(path, "/proc"), "/"), false)
	if err != nil {
		w.listener.Continue(r)
		return
	}
	defer closeFD(dir)
	w.give(r, dir, w.highNumber(r), r.Call == unix.SYS_FCNTL && uint32(r.Args[1]) == unix.F_DUPFD_CLOEXEC)
}

// openMounts gives what we say of mounts.
func (w *worker) openMounts(r *notify.Request, at place, o opening) {
	if writes(o.flags) {
		w.listener.Fail(r, unix.EACCES)
		return
	}
	source := w.mounts
	if strings.HasSuffix(at.path, "mountinfo") {
		source = w.info
	}
	fd, err := unix.Openat(w.proc, fmt.Sprintf("self/fd/%d", source), unix.O_RDONLY|unix.O_CLOEXEC, 0) // its own offset
	if err != nil {
		w.fail(r, err)
		return
	}
	defer closeFD(fd)
	w.give(r, fd, 0, o.flags&unix.O_CLOEXEC != 0)
}

// give answers with a descriptor. Where the wanted number is more than the caller may have it gets another.
func (w *worker) give(r *notify.Request, fd, target int, closeOnExec bool) {
	err := w.listener.Add(r, fd, target, closeOnExec)
	if errors.Is(err, unix.EBADF) && target != 0 {
		err = w.listener.Add(r, fd, 0, closeOnExec)
	}
	if err != nil {
		w.fail(r, err)
	}
}

// lastHigh is below what most processes may have.
const lastHigh = 1023

// highNumber finds a number for a descriptor whose use we want to see, 0 if there is none.
func (w *worker) highNumber(r *notify.Request) int {
	var st unix.Stat_t
	for n := notify.HighDescriptor; n <= lastHigh; n++ {
		err := unix.Fstatat(w.proc, fmt.Sprintf("%d/fd/%d", r.TID, n), &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			return n
		}
		if err != nil {
			return 0
		}
	}
	return 0
}
