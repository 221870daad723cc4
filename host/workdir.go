package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// workPrefix starts the names of the directories of builds.
const workPrefix = "build-"

// workDir is a directory of one build. It is removed when the build ends; what a killed build left is removed by the next
// one: a lock on the directory tells the living from the dead. It is on the directory and not on a file in it, for whoever
// is killed in the middle of removing one must leave something that others know for dead.
type workDir struct {
	dir          string
	blobs, trees string
	lock         *os.File
}

// openWorkDir makes a directory for a build below parent, or, where none is named, below the first directory for
// temporary files that can be written to.
func openWorkDir(parent string) (*workDir, error) {
	if parent != "" {
		return makeWorkDir(parent)
	}
	var errs []error
	for _, dir := range []string{os.TempDir(), "/var/tmp", shm} {
		parent := filepath.Join(dir, fmt.Sprintf("trowel-%d", outsideID()))
		err := makePrivate(parent)
		if err == nil {
			var w *workDir
			if w, err = makeWorkDir(parent); err == nil {
				return w, nil
			}
		}
		errs = append(errs, err)
	}
	return nil, &Error{fmt.Errorf("make work directory: %w", errors.Join(errs...)), workDirHint}
}

const workDirHint = "name a writable directory with --work-dir or TROWEL_WORK_DIR"

// makePrivate makes a directory that is this user's alone, in a place where anyone may make one of that name first.
func makePrivate(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("stat %q: %w", dir, err)
	}
	if st.Mode != unix.S_IFDIR|0o700 || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%q is not a directory of this user's alone", dir)
	}
	return nil
}

func makeWorkDir(parent string) (*workDir, error) {
	parent, err := filepath.Abs(parent)
	if err != nil {
		return nil, fmt.Errorf("open work directory: %w", err)
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, &Error{fmt.Errorf("make work directory: %w", err), workDirHint}
	}
	sweep(parent)
	w, err := makeLocked(parent)
	if err != nil {
		return nil, &Error{fmt.Errorf("make work directory: %w", err), workDirHint}
	}
	if err := errors.Join(os.Mkdir(w.blobs, 0o700), os.Mkdir(w.trees, 0o711)); err != nil {
		return nil, errors.Join(fmt.Errorf("make work directory: %w", err), w.close())
	}
	return w, nil
}

// makeLocked makes the directory, empty, and locks it. Before it is locked, another build may take it for a dead one's.
func makeLocked(parent string) (*workDir, error) {
	for {
		dir, err := os.MkdirTemp(parent, workPrefix)
		if err != nil {
			return nil, err
		}
		lock, err := lockDirectory(dir)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, os.Remove(dir))
		}
		return &workDir{dir: dir, blobs: filepath.Join(dir, "blobs"), trees: filepath.Join(dir, "trees"), lock: lock}, nil
	}
}

// lockDirectory locks a directory if nobody else does, and makes sure that it is still there.
func lockDirectory(dir string) (*os.File, error) {
	lock, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %q: %w", dir, err), lock.Close())
	}
	if _, err := os.Lstat(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// close removes the directory.
func (w *workDir) close() error {
	err := rootfs.RemoveAll(w.dir)
	if w.lock != nil {
		err = errors.Join(err, w.lock.Close())
	}
	return err
}

// sweep removes what dead builds left. What cannot be removed is left to somebody who can.
func sweep(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		dir := filepath.Join(parent, e.Name())
		if !strings.HasPrefix(e.Name(), workPrefix) || !e.IsDir() {
			continue
		}
		lock, err := lockDirectory(dir)
		if err != nil {
			continue // a living build has it
		}
		_ = rootfs.RemoveAll(dir)
		_ = lock.Close()
	}
}
