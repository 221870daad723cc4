package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// HiddenDir is where the container's own entries of the root directory are while a process runs in place. A journal in it
// tells the next builder what one that was killed has left.
const HiddenDir = "/.trowel"

const (
	awayName = "away"
	lockName = "lock"
)

// inPlace is the open [HiddenDir], of which one builder at a time has the lock.
type inPlace struct {
	root string // the root directory: not "/" in tests
	dir  string
	lock *os.File
}

// openInPlace opens the directory, makes what is missing of it, and waits for the lock. What a killed builder has left is put
// in order.
func openInPlace(ctx context.Context, root, dir string) (_ *inPlace, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, failure("make hidden directory", dir, err)
	}
	if err := os.Mkdir(filepath.Join(dir, awayName), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, failure("make hidden directory", dir, err)
	}
	h := &inPlace{root: root, dir: dir}
	h.lock, err = os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, failure("open lock", dir, err)
	}
	if err := h.take(ctx); err != nil {
		return nil, errors.Join(err, h.close())
	}
	if err := h.recover(); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// take waits for the lock. A supervisor that outlives its builder has it too, until the root directory is in order.
func (h *inPlace) take(ctx context.Context) error {
	for {
		err := unix.Flock(int(h.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return failure("lock", h.lock.Name(), err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (h *inPlace) close() error { return h.lock.Close() }

// recover undoes a swap that nobody has undone. The lock is held.
func (h *inPlace) recover() error {
	j, err := readJournal(h.dir)
	if err != nil {
		return err
	}
	if j == nil {
		return liftSavedVeil(h.dir)
	}
	// The directory that the swapped entries came from is of a dead build, and may be gone; they go with it.
	if err := os.MkdirAll(j.Stage, 0o700); err != nil {
		return failure("make directory", j.Stage, err)
	}
	s, err := h.open(j)
	if err != nil {
		return err
	}
	if err := errors.Join(s.leave(), s.close()); err != nil {
		return err
	}
	return liftSavedVeil(h.dir)
}

// Recover puts the root directory in order if a builder was killed while a process ran in place. A program that may start
// such processes calls it before it relies on any path. Elsewhere it does nothing.
func Recover(ctx context.Context) error { return recoverIn(ctx, "/", HiddenDir) }

func recoverIn(ctx context.Context, root, dir string) error {
	if !exists(dir, journalName) && !exists(dir, veilName) {
		return nil // nothing to do, or nothing that this user may do
	}
	h, err := openInPlace(ctx, root, dir)
	if err != nil {
		return err
	}
	return h.close()
}

func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// CheckInPlace tells whether processes can run in place from plain directories in dir. The error is mostly a *[SetupError].
func CheckInPlace(dir string) error {
	const call = "run in place"
	if os.Geteuid() != 0 {
		return &SetupError{Call: call, Err: errors.New("only root can change the root directory"), Hint: "let the builder's container run as root"}
	}
	for _, emptied := range []string{"/tmp", "/var/tmp"} {
		if where, ok := within(emptied, dir); ok {
			return &SetupError{
				Call: call, Subject: dir, Err: fmt.Errorf("a RUN that empties %s would empty /%s", emptied, where), Hint: hintWorkDir,
			}
		}
	}
	if err := os.Mkdir(HiddenDir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return failure("make hidden directory", HiddenDir, err)
	}
	if err := os.Chmod(HiddenDir, 0o700); err != nil { // a cache in it was there first
		return failure("close hidden directory", HiddenDir, err)
	}
	from, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return failure("make directory to probe in", dir, err)
	}
	to := filepath.Join(HiddenDir, filepath.Base(from))
	if err := os.Rename(from, to); err != nil {
		err = &SetupError{
			Call: call, Subject: dir, Err: fmt.Errorf("it must lie on the root file system: %w", err), Hint: hintWorkDir,
		}
		return errors.Join(err, os.Remove(from))
	}
	return os.Remove(to)
}

const hintWorkDir = "name no work directory, or one like " + HiddenDir + "/work with --work-dir"

// swapIn lets a plain directory be the root directory. The result must be left and closed whatever the error is, unless it is
// nil.
func (h *inPlace) swapIn(r Plain) (*swap, error) {
	mounts, err := mountPoints()
	if err != nil {
		return nil, err
	}
	s, err := h.open(newJournal(h.root, h.dir, mounts, r))
	if err != nil {
		return nil, err
	}
	return s, s.enter()
}

// open opens the directories of a swap.
func (h *inPlace) open(j *journal) (_ *swap, err error) {
	s := &swap{own: h.dir, j: j, root: -1, stage: -1, away: -1, moved: map[string]*shifting{}, held: heldBelow(h.root)}
	for _, d := range []struct {
		fd   *int
		path string
	}{{&s.root, h.root}, {&s.stage, j.Stage}, {&s.away, filepath.Join(h.dir, awayName)}} {
		if *d.fd, err = unix.Open(d.path, dirFlags, 0); err != nil {
			return nil, errors.Join(failure("open directory", d.path, err), s.close())
		}
	}
	return s, nil
}

func (s *swap) close() error {
	var errs []error
	for _, fd := range []int{s.root, s.stage, s.away} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
