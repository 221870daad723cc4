package executor

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Descriptors of a child that this package started.
const (
	selfFD   = 3 // the program's own file, from which the child is started
	specFD   = 4 // a memory file with the order
	reportFD = 5 // the pipe for the answer; execve closes it
	filesFD  = 6 // the first of the bind mounts
)

// order is what a step's child is told.
type order struct {
	Root    Rootfs
	Chroot  string // a plain directory, which is the root file system instead of Root
	Served  bool   // in which a server answers for /proc
	Process wireProcess
	Action  action
	Hidden  string   // of a step in place: what to put in order if the builder dies
	veil    *os.File // what to put back then
	lock    *os.File // of that, for the supervisor to inherit; not written down
}

type action string

const (
	actionRun   action = "run"
	actionProbe action = "probe" // set everything up, then exit 0 instead of execve
)

// wireProcess is a Process without what cannot be written down.
type wireProcess struct {
	Args, Env          []string
	Dir                string
	User               User
	Network            Network
	Privileges         Privileges
	Hostname           string
	Proc               Proc
	Limits             []Limit
	ShmSize            int64
	Mounts             []wireMount
	ResolvConf, Hosts  []byte
	SetResolv, SetHost bool
	// Recorder is the descriptor of the socket by which a step hands over the listener of its identities, 0 if the kernel
	// has all that it needs.
	Recorder     int
	RecordedUser User // who the step is by that record
}

type wireMount struct {
	Kind     MountKind
	Target   string
	FD       int // of a bind mount: a mount that is attached nowhere yet
	Layers   Rootfs
	SubPath  string // below Layers
	ReadOnly bool
	Size     int64
	Content  []byte
	Mode     uint32
	UID, GID uint32
}

// SetupError says which step of preparing a process failed; the command has not run.
type SetupError struct {
	Call    string // what was done: "mount overlay"
	Subject string // to what, may be empty
	Err     error
	Hint    string // what would help, may be empty
}

// Error implements error.
func (e *SetupError) Error() string {
	if e.Subject == "" {
		return fmt.Sprintf("%s: %v", e.Call, e.Err)
	}
	return fmt.Sprintf("%s %q: %v", e.Call, e.Subject, e.Err)
}

// Unwrap gives the cause, mostly a [syscall.Errno].
func (e *SetupError) Unwrap() error { return e.Err }

// report is a SetupError on its way through the pipe.
type report struct {
	Call, Subject, Text, Hint string
	Errno                     uint32
}

func failure(call, subject string, err error) error {
	return &SetupError{Call: call, Subject: subject, Err: err}
}

// reporter is the child's end. Before execve it says ready, so that its end without a word is known for a crash.
type reporter struct{ enc *gob.Encoder }

func newReporter(w io.Writer) *reporter { return &reporter{gob.NewEncoder(w)} }

func (r *reporter) ready() error { return r.enc.Encode(report{}) }

func (r *reporter) fail(err error) error { return r.enc.Encode(reportOf(err)) }

func reportOf(err error) report {
	var setup *SetupError
	if !errors.As(err, &setup) {
		setup = &SetupError{Call: "prepare the process", Err: err}
	}
	out := report{Call: setup.Call, Subject: setup.Subject, Hint: setup.Hint}
	var errno syscall.Errno
	if errors.As(setup.Err, &errno) {
		out.Errno = uint32(errno)
	}
	if errno == 0 || setup.Err.Error() != errno.Error() {
		out.Text = setup.Err.Error()
	}
	return out
}

// errNoReport says that the child ended before the command ran and could not say why.
var errNoReport = errors.New("the child died before it became the command")

// receiveReport returns nil once the command runs.
func receiveReport(r io.Reader) error {
	dec := gob.NewDecoder(r)
	for ready := false; ; ready = true {
		var got report
		err := dec.Decode(&got)
		switch {
		case errors.Is(err, io.EOF) && ready:
			return nil
		case err != nil:
			return failure("prepare the process", "", errNoReport)
		case got.Call != "":
			return got.error()
		case ready:
			return failure("prepare the process", "", errors.New("the child reported twice"))
		}
	}
}

func (r report) error() error {
	setup := &SetupError{Call: r.Call, Subject: r.Subject, Hint: r.Hint}
	switch {
	case r.Errno != 0 && r.Text != "":
		setup.Err = &describedErrno{r.Text, syscall.Errno(r.Errno)}
	case r.Errno != 0:
		setup.Err = syscall.Errno(r.Errno)
	default:
		setup.Err = errors.New(r.Text)
	}
	return setup
}

// describedErrno is an errno with words of its own.
type describedErrno struct {
	text  string
	errno syscall.Errno
}

func (e *describedErrno) Error() string { return e.text }
func (e *describedErrno) Unwrap() error { return e.errno }

// writeOrder puts an order into a memory file: unlike a pipe it takes any size without a reader.
func writeOrder(o order) (*os.File, error) {
	fd, err := unix.MemfdCreate("trowel-order", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, failure("create memory file", "", err)
	}
	f := os.NewFile(uintptr(fd), "order")
	if err := gob.NewEncoder(f).Encode(o); err != nil {
		return nil, errors.Join(failure("write the child's order", "", err), f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(failure("write the child's order", "", err), f.Close())
	}
	return f, nil
}

func readOrder() (order, error) { return decodeOrder(os.NewFile(specFD, "order")) }

func decodeOrder(f *os.File) (order, error) {
	var o order
	if err := gob.NewDecoder(f).Decode(&o); err != nil {
		return o, errors.Join(failure("read the order", "", err), f.Close())
	}
	return o, f.Close()
}
