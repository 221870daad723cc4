package executor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxReached is how many paths are named.
const maxReached = 5

// tellReached says what of the container's own files, which lie aside, was changed since a process began. Nobody can undo it:
// the container comes back as the process left it.
func (p Process) tellReached(away int, began unix.Timespec) {
	if p.Notice == nil {
		return
	}
	r := reached{since: began, own: openFiles()}
	var top unix.Stat_t
	err := unix.Fstat(away, &top)
	if err == nil {
		r.look("", &top)
		err = r.below(away, "")
	}
	if err != nil {
		p.Notice(fmt.Sprintf("cannot tell whether the process has changed the container's own files: %v", err))
		return
	}
	if r.count == 0 {
		return
	}
	text := "the container's own files were changed while a process ran in place, by it or by another: " + strings.Join(r.paths, ", ")
	if more := r.count - len(r.paths); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	p.Notice(text + "; in place a process finds them in " + path.Join(HiddenDir, awayName))
}

// reached are files that were changed.
type reached struct {
	since unix.Timespec
	own   []inode // that the builder writes to
	paths []string
	count int
}

// below looks at what is in a directory. The status change time is the kernel's own: whatever is done to a file moves it, or
// that of the directory which it was in.
func (r *reached) below(dir int, at string) error {
	return eachName(dir, at, func(name string) error {
		where := path.Join(at, name)
		var st unix.Stat_t
		switch err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
		case errors.Is(err, unix.ENOENT):
			return nil // another process of the container's has just removed it
		case err != nil:
			return failure("stat", "/"+where, err)
		}
		r.look(where, &st)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil
		}
		sub, err := openSub(dir, name)
		if err != nil {
			return failure("open directory", "/"+where, err)
		}
		err = r.below(sub, where)
		if closeErr := unix.Close(sub); err == nil {
			err = closeErr
		}
		return err
	})
}

func (r *reached) look(where string, st *unix.Stat_t) {
	if st.Ctim.Nano() <= r.since.Nano() || slices.Contains(r.own, inodeOf(st)) {
		return
	}
	if r.count++; r.count <= maxReached {
		r.paths = append(r.paths, fmt.Sprintf("%q", "/"+where))
	}
}

// openFiles are those that the builder has open, such as its log: what it writes there is no process's doing.
func openFiles() []inode {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil // then they count as changed
	}
	var own []inode
	for _, n := range names {
		var st unix.Stat_t
		if unix.Stat("/proc/self/fd/"+n.Name(), &st) == nil {
			own = append(own, inodeOf(&st))
		}
	}
	return own
}

// fileClock is the time that a file which is changed now gets, or is given a later one.
func fileClock() (unix.Timespec, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
		return now, failure("read the clock", "", err)
	}
	return now, nil
}
