package local

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	scratchDir = "tmp"
	lockSuffix = ".lock"
)

// scratch is a directory in which one process writes entries before they are in place. Its lock file is flocked for as
// long as the process lives, however it ends, and so tells others whether the directory is a leftover.
type scratch struct {
	name string // below the root
	lock *os.File
	next atomic.Int64
}

func randomName() string { return rand.Text() }

// newScratch makes the process's directory. The lock comes first: a directory without a locked file is a leftover.
func newScratch(root *os.Root) (*scratch, error) {
	if err := root.MkdirAll(scratchDir, 0o755); err != nil {
		return nil, err
	}
	for {
		name := path.Join(scratchDir, randomName())
		lock, err := root.OpenFile(name+lockSuffix, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %q: %w", name+lockSuffix, err), lock.Close(), root.Remove(name+lockSuffix))
		}
		// Between making and locking it another process may have taken the file for a leftover and removed it.
		if info, err := lock.Stat(); err != nil || links(info) == 0 {
			if err := errors.Join(err, lock.Close()); err != nil {
				return nil, err
			}
			continue
		}
		if err := root.Mkdir(name, 0o755); err != nil {
			return nil, errors.Join(err, lock.Close(), root.Remove(name+lockSuffix))
		}
		return &scratch{name: name, lock: lock}, nil
	}
}

// file is a name for a new temporary file.
func (s *scratch) file() string {
	return path.Join(s.name, strconv.FormatInt(s.next.Add(1), 10))
}

func (s *scratch) close(root *os.Root) error {
	return errors.Join(root.RemoveAll(s.name), ignoreNotExist(root.Remove(s.name+lockSuffix)), s.lock.Close())
}

// removeLeftovers removes what processes that are gone were writing. It is done as well as it can be: a cache that cannot
// be tidied can be used nonetheless.
func removeLeftovers(root *os.Root) {
	names, err := readNames(root, scratchDir)
	if err != nil {
		return
	}
	for _, name := range names {
		if owner, ok := strings.CutSuffix(name, lockSuffix); ok {
			removeIfLeft(root, path.Join(scratchDir, owner))
			continue
		}
		// A directory comes after its lock file and goes before it. One without is what an interrupted removal left.
		dir := path.Join(scratchDir, name)
		if _, err := root.Lstat(dir + lockSuffix); errors.Is(err, os.ErrNotExist) {
			_ = root.RemoveAll(dir)
		}
	}
}

// removeIfLeft removes a process's directory unless the process lives.
func removeIfLeft(root *os.Root, name string) {
	lock, err := root.OpenFile(name+lockSuffix, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer lock.Close() //nolint:errcheck // only the lock matters
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return
	}
	// The lock file goes last: while it exists the directory has an owner to be asked for.
	if root.RemoveAll(name) == nil {
		_ = root.Remove(name + lockSuffix)
	}
}

func links(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink) //nolint:unconvert // differs by platform
	}
	return 1
}
