package executor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// In place a process is of the builder's user, or may become it, and sees the builder's processes: it can kill its supervisor.
// So for as long as it runs the builder itself inherits what a supervisor would leave. What came to it so is known by three
// signs: it is the builder's child, it was not that before, and its session is another. All that the builder starts
// for its own ends is in its session, and nobody can enter a session that is not new.

// strays are the processes that a supervisor which is killed leaves to the builder.
type strays struct {
	before []process // the builder's children
	always bool      // the builder inherits orphans anyway
}

// errStrays says that a process runs which should not.
var errStrays = errors.New("processes that the RUN left behind cannot be ended")

// strayPatience is how long they are killed before that is said.
const strayPatience = 10 * time.Second

// stopPatience is how long a cancelled process's supervisor has to end it all before that is done here: it can be kept from it.
const stopPatience = 10 * time.Second

// expectStrays is called before the supervisor is started.
func expectStrays() (*strays, error) {
	already := int32(0)
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&already)), 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	if err != nil {
		return nil, failure("inherit orphans", "", err)
	}
	s, self := &strays{always: already != 0}, os.Getpid()
	err = eachProcess(func(p process) error {
		if p.parent == self {
			s.before = append(s.before, p)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, s.forget())
	}
	return s, nil
}

// end kills all of them. They may make others meanwhile, which are inherited as soon as their parent is dead.
func (s *strays) end() error {
	if s == nil {
		return nil
	}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		left, err := s.kill()
		if len(left) == 0 && err == nil {
			return nil
		}
		if time.Since(began) > strayPatience {
			return &SetupError{
				Call: "end processes", Subject: fmt.Sprint(left), Err: errors.Join(errStrays, err),
				Hint: "files with credentials were not put back: let the next job have a container of its own",
			}
		}
	}
}

// kill kills those that are there, and says which they were. An error is of one that could not be killed.
func (s *strays) kill() (found []int, err error) {
	self := os.Getpid()
	session, err := unix.Getsid(0)
	if err != nil {
		return nil, failure("read session", "", err)
	}
	var errs []error // of one, while the others are killed all the same
	err = eachProcess(func(p process) error {
		if p.parent != self || p.session == session || s.knew(p) {
			return nil
		}
		found = append(found, p.id)
		errs = append(errs, kill(p.id))
		var status unix.WaitStatus
		_, _ = unix.Wait4(p.id, &status, unix.WNOHANG, nil) // or the next time
		return nil
	})
	return found, errors.Join(append(errs, err)...)
}

func (s *strays) knew(p process) bool {
	return slices.ContainsFunc(s.before, func(b process) bool { return b.id == p.id && b.began == p.began })
}

// forget lets orphans be process 1's again.
func (s *strays) forget() error {
	if s == nil || s.always {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil {
		return failure("leave orphans", "", err)
	}
	return nil
}
