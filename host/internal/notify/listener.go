package notify

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Request is struct seccomp_notif: a call that waits for its answer.
type Request struct {
	ID    uint64
	TID   uint32 // the thread that calls; a number that is its own only as long as [Listener.Valid]
	flags uint32
	Call  int32
	Arch  uint32
	ip    uint64
	Args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	err   int32
	flags uint32
}

// addition is struct seccomp_notif_addfd.
type addition struct {
	id              uint64
	flags           uint32
	source, target  uint32
	descriptorFlags uint32
}

// Listener is the end of a filter where its requests arrive. Any number of threads may receive and answer.
type Listener struct {
	fd         uintptr
	separately atomic.Bool // descriptors are added and answers sent by two calls (before Linux 5.14)
}

// Listen takes over a descriptor from [Install].
func Listen(fd int) *Listener {
	// What this kernel lacks costs time only: the caller is woken on the listener's processor (Linux 6.6).
	_, _, _ = unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	return &Listener{fd: uintptr(fd)}
}

// errGone says that the caller waits no longer: it was killed, or a signal interrupted its call.
var errGone = errors.New("the caller is gone")

// Receive waits for a request. It returns io.EOF when no process is left that the filter holds.
func (l *Listener) Receive(r *Request) error {
	for {
		*r = Request{} // the kernel demands it
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, l.fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(r)))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		case unix.ENOENT: // a request that was there when we woke up
			if l.over() {
				return io.EOF
			}
		default:
			return fmt.Errorf("receive a request: %w", errno)
		}
	}
}

func (l *Listener) over() bool {
	fds := []unix.PollFd{{Fd: int32(l.fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1 && fds[0].Revents&unix.POLLHUP != 0
}

// Valid says whether the caller still waits: only then is what is known of its TID about the caller.
func (l *Listener) Valid(r *Request) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, l.fd, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, uintptr(unsafe.Pointer(&r.ID)))
	return errno == 0
}

// Continue lets the call go on as if there were no filter.
func (l *Listener) Continue(r *Request) {
	l.send(response{id: r.ID, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
}

// Return answers with a result.
func (l *Listener) Return(r *Request, value int64) { l.send(response{id: r.ID, value: value}) }

// Fail answers with an error.
func (l *Listener) Fail(r *Request, errno unix.Errno) {
	l.send(response{id: r.ID, err: -int32(errno)})
}

// send answers; a caller that is gone needs no answer.
func (l *Listener) send(out response) {
	_, _, _ = unix.RawSyscall(unix.SYS_IOCTL, l.fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&out)))
}

// BlockSignals keeps signals from this thread: one that interrupts [Listener.Add] leaves the caller with an answer and
// without the descriptor. Go's runtime sends them to preempt, and does without.
func BlockSignals() error {
	all := ^uint64(0)
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&all)), 0, 8, 0, 0); errno != 0 {
		return fmt.Errorf("block signals: %w", errno)
	}
	return nil
}

// Add gives the caller a copy of one of our descriptors, which its call returns: under the number target, or the lowest free
// one if that is 0. Our own stays ours. An error means that nothing was answered. The thread must have blocked signals.
func (l *Listener) Add(r *Request, fd, target int, closeOnExec bool) error {
	in := addition{id: r.ID, flags: unix.SECCOMP_ADDFD_FLAG_SEND, source: uint32(fd), target: uint32(target)}
	if target != 0 {
		in.flags |= unix.SECCOMP_ADDFD_FLAG_SETFD
	}
	if closeOnExec {
		in.descriptorFlags = unix.O_CLOEXEC
	}
	if !l.separately.Load() {
		_, err := l.add(&in)
		if !errors.Is(err, unix.EINVAL) {
			return err
		}
		l.separately.Store(true)
	}
	in.flags &^= unix.SECCOMP_ADDFD_FLAG_SEND
	got, err := l.add(&in)
	if err == nil {
		l.Return(r, int64(got))
	}
	return err
}

func (l *Listener) add(in *addition) (int, error) {
	got, _, errno := unix.RawSyscall(unix.SYS_IOCTL, l.fd, unix.SECCOMP_IOCTL_NOTIF_ADDFD, uintptr(unsafe.Pointer(in)))
	switch errno {
	case 0:
		return int(got), nil
	case unix.ENOENT, unix.EINPROGRESS:
		return -1, errGone
	}
	return -1, errno
}
