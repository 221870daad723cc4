package executor

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Limit is a bound on what a process may use, as setrlimit(2) knows it; -1 is none.
type Limit struct {
	Name       string // of the resource, as Docker has it: "nofile"
	Soft, Hard int64
}

// resource is its number.
func (l Limit) resource() (int, bool) {
	n, ok := map[string]int{
		"core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE,
		"locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE,
		"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
		"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
	}[l.Name]
	return n, ok
}

// Check says what is wrong with a limit that no process can have.
func (l Limit) Check() error {
	if _, ok := l.resource(); !ok {
		return fmt.Errorf("limit %q: there is no such resource: nofile, nproc, core, memlock, stack are some", l.Name)
	}
	if l.Soft < -1 || l.Hard < -1 {
		return fmt.Errorf("limit %q: want numbers from 0 on, or -1 for none", l.Name)
	}
	if uint64(l.Soft) > uint64(l.Hard) {
		return fmt.Errorf("limit %q: the soft limit %d is above the hard limit %d", l.Name, l.Soft, l.Hard)
	}
	return nil
}

// String is how Docker writes a limit.
func (l Limit) String() string {
	return l.Name + "=" + strconv.FormatInt(l.Soft, 10) + ":" + strconv.FormatInt(l.Hard, 10)
}

// raise lifts the hard limits that are to be higher, which a process may as long as it has the builder's rights.
func raise(limits []Limit) error {
	for _, l := range limits {
		resource, _ := l.resource()
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return failure("read limit", l.Name, err)
		}
		if uint64(l.Hard) <= now.Max {
			continue
		}
		now.Max = uint64(l.Hard)
		if err := unix.Setrlimit(resource, &now); err != nil {
			return &SetupError{
				Call: "set limit", Subject: l.String(), Err: err,
				Hint: "only root with CAP_SYS_RESOURCE may raise a hard limit, outside of user namespaces, and no number of files above fs.nr_open",
			}
		}
	}
	return nil
}

// lower sets the limits. Little is done between it and the command: a limit holds for whoever prepares it, too.
func lower(limits []Limit) error {
	for _, l := range limits {
		resource, _ := l.resource()
		// Of nofile Go's runtime keeps what was there before it raised it, and restores it at exec unless it is set this way.
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: uint64(l.Soft), Max: uint64(l.Hard)}); err != nil {
			return failure("set limit", l.String(), err)
		}
	}
	return nil
}
