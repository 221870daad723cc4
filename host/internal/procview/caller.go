//go:build amd64

package procview

import (
	"bytes"
	"errors"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// heldMemories is how many callers' memories a worker keeps open. It is small, so that a thread's number has long fallen
// out before the kernel gives it to another.
const heldMemories = 32

// memory is a caller's, open for reading.
type memory struct {
	tid uint32
	fd  int
}

// memories keeps those used last, the latest first.
type memories struct{ held []memory }

func (m *memories) find(tid uint32) (int, bool) {
	for i, held := range m.held {
		if held.tid == tid {
			copy(m.held[1:i+1], m.held[:i])
			m.held[0] = held
			return held.fd, true
		}
	}
	return -1, false
}

func (m *memories) add(tid uint32, fd int) {
	if len(m.held) == heldMemories {
		closeFD(m.held[heldMemories-1].fd)
		m.held = m.held[:heldMemories-1]
	}
	m.held = append(m.held, memory{})
	copy(m.held[1:], m.held)
	m.held[0] = memory{tid, fd}
}

func (m *memories) drop(tid uint32) {
	for i, held := range m.held {
		if held.tid == tid {
			closeFD(held.fd)
			m.held = append(m.held[:i], m.held[i+1:]...)
			return
		}
	}
}

func (m *memories) close() {
	for _, held := range m.held {
		closeFD(held.fd)
	}
}

// openMemory opens the caller's memory with the rights that this takes: its user's, since we have no CAP_SYS_PTRACE.
func (w *worker) openMemory(r *notify.Request, flags int) (int, error) {
	path := strconv.AppendUint(w.memoryName[:0], uint64(r.TID), 10)
	path = append(path, "/mem\x00"...)
	fd, err := rawOpen(w.proc, &path[0], flags|unix.O_CLOEXEC)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	if err := w.look(r); err != nil {
		return -1, err
	}
	fd, err = rawOpen(w.proc, &path[0], flags|unix.O_CLOEXEC)
	return fd, err
}

// readString reads a string that ends with NUL from the caller's memory into the worker's own, where it stays until the
// next is read.
func (w *worker) readString(r *notify.Request, address uint64, into *[unix.PathMax + 1]byte) ([]byte, error) {
	for range 2 {
		fd, held := w.memories.find(r.TID)
		if !held {
			var err error
			if fd, err = w.openMemory(r, unix.O_RDONLY); err != nil {
				return nil, err
			}
			w.memories.add(r.TID, fd)
		}
		text, err := readStringAt(fd, address, into)
		if err == nil {
			return text, nil
		}
		if !held {
			return nil, err
		}
		w.memories.drop(r.TID) // another program's of the same process
	}
	return nil, unix.EFAULT
}

func readStringAt(fd int, address uint64, into *[unix.PathMax + 1]byte) ([]byte, error) {
	have := 0
	for _, want := range []int{256, unix.PathMax} {
		n, err := rawPread(fd, into[have:want], address+uint64(have))
		if n > 0 {
			if end := bytes.IndexByte(into[have:have+n], 0); end >= 0 {
				return into[:have+end], nil
			}
		}
		if have += max(n, 0); err != nil || have < want {
			return nil, unix.EFAULT
		}
	}
	return nil, unix.ENAMETOOLONG
}

// readInto reads the caller's memory.
func (w *worker) readInto(r *notify.Request, address uint64, buf []byte) error {
	fd, err := w.openMemory(r, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	if n, err := rawPread(fd, buf, address); err != nil || n != len(buf) {
		return unix.EFAULT
	}
	return nil
}

// write writes to the caller's memory. It is opened anew for that and the caller looked at afterwards, so that the bytes
// reach nobody else.
func (w *worker) write(r *notify.Request, address uint64, buf []byte) error {
	fd, err := w.openMemory(r, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	if !w.listener.Valid(r) {
		return errGone
	}
	if n, err := unix.Pwrite(fd, buf, int64(address)); err != nil || n != len(buf) {
		return unix.EFAULT
	}
	return nil
}

var errGone = errors.New("the caller is gone")

// look reads who the caller is, and acts with that user's rights from now on and our own capabilities: what it takes to look
// into the caller itself.
func (w *worker) look(r *notify.Request) error {
	id, err := w.identify(r)
	if err != nil {
		return err
	}
	c := id.credentials
	c.caps = w.own
	return w.become(c)
}

// act reads who the caller is and acts with its rights from now on.
func (w *worker) act(r *notify.Request) (identity, error) {
	id, err := w.identify(r)
	if err != nil {
		return id, err
	}
	return id, w.become(id.credentials)
}

func (w *worker) identify(r *notify.Request) (identity, error) {
	text, err := w.readProc(int(r.TID), "status")
	if err != nil {
		return identity{}, err
	}
	if !w.listener.Valid(r) {
		return identity{}, errGone
	}
	return parseStatus(text)
}

// readProc reads a small file of a process from the real /proc. It stays until the next is read.
func (w *worker) readProc(pid int, name string) ([]byte, error) {
	path := strconv.AppendInt(w.name[:0], int64(pid), 10)
	path = append(path, '/')
	path = append(path, name...)
	path = append(path, 0)
	fd, err := rawOpen(w.proc, &path[0], unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer closeFD(fd)
	n, err := unix.Read(fd, w.text[:])
	return w.text[:max(n, 0)], err
}

func rawOpen(dir int, path *byte, flags int) (int, error) {
	fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(path)), uintptr(flags), 0, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func rawPread(fd int, buf []byte, offset uint64) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), uintptr(offset), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// closeFD closes what was open for reading, or is somebody else's too: there is nothing left to fail.
func closeFD(fd int) { _ = unix.Close(fd) }
