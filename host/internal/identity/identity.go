// Package identity lets the processes of a step be other users where the kernel has only one for them: in a user namespace
// of a single ID, as an ordinary user makes it for whom nobody has delegated more. There chown, setgroups and setuid fail for
// every ID but 0, and with them apt-get, useradd's home directories and USER.
//
// A seccomp filter stops the calls that change or ask for identities, and here they are answered as the kernel would answer
// them: each process has the IDs that it believes to have. Who owns a file is recorded in an attribute of the file, so that
// it follows the file wherever it is moved; what can have no attribute is recorded by its path. Whoever makes a layer of the
// files reads the record.
//
// It is a record, not a protection: the kernel knows one user, who may read and write all files of the step, and stat(2) shows
// 0 as the owner of each.
//
//	identity.go  the server: from request to answer
//	ids.go       what a process believes to be        process.go  whose process it is
//	owner.go     chown                                create.go   files that another user than root makes
//	caller.go    the caller's memory and directories
package identity

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// Attribute is the extended attribute with a file's recorded owner: "UID GID" in decimal, "-" for one that is not recorded.
const Attribute = "user.trowel.owner"

// Owner is a recorded owner. An ID of [Unrecorded] is not.
type Owner struct{ UID, GID uint32 }

// Unrecorded is the ID that no file can have, (uid_t)-1.
const Unrecorded = ^uint32(0)

// User is who the first process believes to be.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// Server answers the calls of a step's processes.
type Server struct {
	listener *notify.Listener
	proc     *os.File // the builder's /proc: its own root is another while it serves
	people   people
	calls    map[uint32]call

	mu     sync.Mutex
	owners map[string]Owner
}

// NewServer prepares a server for the descendants of a process, itself included, whose filter is [Program].
func NewServer(listener *notify.Listener, first int, u User) (*Server, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("serve identities: %w", err)
	}
	s := &Server{listener: listener, proc: proc, calls: calls(), owners: map[string]Owner{}}
	maps.Copy(s.calls, statCalls())
	s.people = people{proc: proc, known: map[uint32]person{}}
	if u.UID != 0 || u.GID != 0 {
		if err := s.people.start(uint32(first), of(u)); err != nil {
			return nil, errors.Join(fmt.Errorf("serve identities: %w", err), proc.Close())
		}
	}
	return s, nil
}

// Serve answers until no process is left. Its thread is given up: it has another root directory afterwards.
func (s *Server) Serve() error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- s.serve()
	}()
	return errors.Join(<-done, s.proc.Close())
}

func (s *Server) serve() error {
	// Root, working directory and umask become this thread's own.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("serve identities: take directories of one's own: %w", err)
	}
	if err := notify.BlockSignals(); err != nil {
		return fmt.Errorf("serve identities: %w", err)
	}
	for {
		var r notify.Request
		err := s.listener.Receive(&r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve identities: %w", err)
		}
		s.answer(&r)
	}
}

// Owners are those that no attribute could hold, by path from the step's root without a leading slash. It is complete once
// Serve has returned.
func (s *Server) Owners() map[string]Owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owners
}

// outcome is what a call comes to.
type outcome struct {
	errno unix.Errno
	value int64
	pass  bool // the kernel shall do it
	file  *opened
}

// opened is a descriptor for the caller.
type opened struct {
	fd          int
	closeOnExec bool
}

func (s *Server) answer(r *notify.Request) {
	call, ok := s.calls[uint32(r.Call)]
	if !ok || r.Arch != architecture {
		s.listener.Continue(r) // another architecture's call, which has only the kernel's answer
		return
	}
	out := call(s, r)
	switch {
	case out.file != nil:
		if err := s.listener.Add(r, out.file.fd, 0, out.file.closeOnExec); err != nil {
			s.listener.Fail(r, unix.EMFILE) // or to nobody, who was killed
		}
		_ = unix.Close(out.file.fd)
	case out.pass:
		s.listener.Continue(r)
	case out.errno != 0:
		s.listener.Fail(r, out.errno)
	default:
		s.listener.Return(r, out.value)
	}
}

func fail(err error) outcome {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return outcome{errno: errno}
	}
	return outcome{errno: unix.EIO}
}
