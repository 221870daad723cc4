package executor

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/identity"
	"github.com/trowel-build/trowel/host/internal/notify"
)

// recorder serves the identities that the kernel does not have in a user namespace of one ID. nil serves none.
type recorder struct {
	process      Process
	ours, theirs *os.File // the ends of the socket for the listener
	done         chan error
}

// recorder is nil where the kernel has all identities, and where the files of a plain directory are as they are.
func (l *Launcher) recorder(o order, p Process) (*recorder, error) {
	if o.Chroot != "" || o.Hidden != "" {
		return nil, nil //nolint:nilnil // there is none
	}
	ns, err := l.UserNamespace()
	if err != nil || ns.IDs != 1 {
		return nil, err
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, failure("create socket", "", err)
	}
	return &recorder{process: p, ours: os.NewFile(uintptr(ends[0]), "listener"), theirs: os.NewFile(uintptr(ends[1]), "listener")}, nil
}

// join adds the socket to what a step is given. To the kernel the step is root.
func (r *recorder) join(p *wireProcess, files []*os.File) []*os.File {
	if r == nil {
		return files
	}
	p.Recorder, p.RecordedUser, p.User = filesFD+len(files), p.User, User{}
	return append(files[:len(files):len(files)], r.theirs)
}

// start serves a step that was started. It waits until the step has handed over its listener or has ended.
func (r *recorder) start(pid int) error {
	if r == nil {
		return nil
	}
	// With our copy gone, the socket's end is the step's.
	err := r.theirs.Close()
	r.theirs = nil
	if err != nil {
		return failure("close socket", "", err)
	}
	fd, err := notify.Receive(int(r.ours.Fd()))
	if err != nil {
		return nil //nolint:nilerr // the step says itself what kept it
	}
	listener := notify.Listen(fd)
	server, err := identity.NewServer(listener, pid, r.process.User.recorded())
	if err != nil {
		return errors.Join(failure("record identities", "", err), unix.Close(fd))
	}
	r.done = make(chan error, 1)
	go func() {
		err := errors.Join(server.Serve(), unix.Close(fd))
		if err == nil && r.process.Recorded != nil {
			for path, owner := range server.Owners() {
				r.process.Recorded(path, owner)
			}
		}
		r.done <- err
	}()
	return nil
}

// wait returns when no process of the step is left.
func (r *recorder) wait() error {
	if r == nil || r.done == nil {
		return nil
	}
	return errorOf("record identities", <-r.done)
}

// close frees the socket.
func (r *recorder) close() error {
	if r == nil {
		return nil
	}
	err := r.ours.Close()
	if r.theirs != nil {
		err = errors.Join(err, r.theirs.Close())
	}
	return err
}

func (u User) recorded() identity.User {
	return identity.User{UID: u.UID, GID: u.GID, Groups: u.Groups}
}

// recording is what a step whose identities are recorded knows of that. The zero value is for steps whose are not.
type recording struct {
	socket int
	user   User // who the step is by that record
}

// handOver installs the filter of such a step, and gives its listener to the builder. From here on the builder answers what
// this thread asks about identities.
func (r recording) handOver() error {
	if r.socket == 0 {
		return nil
	}
	listener, err := notify.Install(identity.Program(r.user.recorded()))
	if err != nil {
		return failure("record identities", "", err)
	}
	if err := errors.Join(notify.Send(r.socket, listener), unix.Close(listener)); err != nil {
		return failure("record identities", "", err)
	}
	return nil
}

// letGo closes a supervisor's copy of the socket: the builder waits for the step's word, or for the step to be gone.
func letGo(socket int) error {
	if socket == 0 {
		return nil
	}
	return errorOf("close socket", unix.Close(socket))
}
