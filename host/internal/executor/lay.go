package executor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Where nothing can be mounted, what a mount would show is put into the root file system itself before a process starts, and
// taken away when it and all its descendants have ended. What was there lies aside meanwhile. Rules:
//
//   - Whatever the process did, what was covered comes back, and nothing that was shown stays. A mount cannot be removed,
//     renamed or replaced from inside; what is laid can. So everything is held by descriptor, and looked for where it is.
//   - What a writable bind mount shows, which is a cache, is moved in and out by its entries: the directory itself stays where
//     it is, locked for as long. All else is copied, and what was written to it is thrown away.
//   - The permissions of a read-only mount are those of its files. That it cannot be written to is nothing that a root without
//     a mount could be told: it is written to in vain.
//
// Nothing but the process may use the tree between lay and remove, and nothing at all while one of them runs.

// laid is what a process in a plain directory is shown instead of mounts.
type laid struct {
	root, aside int
	notice      func(string)
	asideCount  int

	covers []*cover
	levels map[inode]*level // directories on the way to targets
	times  map[inode]*dated // directories whose time must not change
	bases  map[inode]int    // what bind mounts show, open and locked
	claims []claim

	readers  []int // bases of which there is a copy
	secrets  []secretFile
	memory   *memoryDirectory
	cleanUps []func() error // done in the end

	fds    []int // to be closed in the end
	files  []*os.File
	shifts map[string]moved // by path
}

// inode tells files apart.
type inode struct{ dev, ino uint64 }

func inodeOf(st *unix.Stat_t) inode {
	return inode{uint64(st.Dev), st.Ino} //nolint:unconvert // differs by platform
}

// cover is one mount of a process, laid.
type cover struct {
	spot   *spot
	hidden *covered // what was there; nil if nothing was
	made   int      // what lies there now, open as a path; -1 before
	// filled says that there is no directory or file of its own: the one that is there could not be moved.
	filled bool
	// giveBack is called when the process is over, before what was laid is deleted.
	giveBack func() error
}

// lay puts what the process's mounts show, its /etc/resolv.conf and its /etc/hosts into a plain directory, whose open root
// is root. aside is the open [Plain.Aside].
func lay(ctx context.Context, root, aside *os.File, p Process) (_ *laid, err error) {
	l := &laid{
		root: int(root.Fd()), aside: int(aside.Fd()), notice: p.Notice,
		levels: map[inode]*level{}, times: map[inode]*dated{}, bases: map[inode]int{},
		shifts: map[string]moved{},
	}
	if l.notice == nil {
		l.notice = func(string) {}
	}
	defer func() {
		if err != nil {
			timesErr := l.restoreTimes() // no process has changed them
			_, undoErr := l.remove()
			err = errors.Join(err, timesErr, undoErr)
		}
	}()
	if err := l.recover(); err != nil {
		return nil, err
	}
	if err := l.lockAll(ctx, p.Mounts); err != nil {
		return nil, err
	}
	for _, m := range withFiles(p) {
		if err := l.add(ctx, m); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(l.writeSecrets(), l.unlockReaders(), l.restoreTimes()); err != nil {
		return nil, err
	}
	return l, nil
}

// withFiles are a process's mounts and its files of the network, in the order in which they are made.
func withFiles(p Process) []Mount {
	mounts := make([]Mount, 0, len(p.Mounts)+2)
	if p.ResolvConf != nil {
		mounts = append(mounts, Mount{Kind: MountFile, Target: "/etc/resolv.conf", Content: p.ResolvConf})
	}
	if p.Hosts != nil {
		mounts = append(mounts, Mount{Kind: MountFile, Target: "/etc/hosts", Content: p.Hosts})
	}
	return append(mounts, p.Mounts...)
}

// add lays one mount.
func (l *laid) add(ctx context.Context, m Mount) error {
	m.Target = filepath.Clean(m.Target)
	src, err := l.source(m)
	if err != nil {
		return err
	}
	s, err := l.walk(m.Target)
	if err != nil {
		return err
	}
	if s.found && s.stat.Mode&unix.S_IFMT == unix.S_IFDIR != src.directory {
		return failure("mount", m.Target, unix.ENOTDIR)
	}
	c := &cover{spot: s, made: -1}
	l.covers = append(l.covers, c)
	if err := l.touch(s.dir()); err != nil {
		return err
	}
	if err := l.hide(c); err != nil {
		return err
	}
	err = l.show(ctx, c, m, src)
	if setup, ok := errors.AsType[*SetupError](err); ok && setup.Subject == "" {
		return &SetupError{Call: setup.Call, Subject: m.Target, Err: setup.Err, Hint: setup.Hint}
	}
	if err != nil {
		return failure("lay mount", m.Target, err)
	}
	return nil
}

// remove takes it away again, and puts back what it covered. It tells which files it moved.
func (l *laid) remove() ([]Shift, error) {
	errs := []error{l.readTimes()}
	for _, c := range slices.Backward(l.covers) {
		errs = append(errs, l.uncover(c))
	}
	for _, f := range slices.Backward(l.cleanUps) {
		errs = append(errs, f())
	}
	errs = append(errs, l.restoreTimes(), l.forgetAside())
	shifts := l.shifted()
	for _, fd := range l.fds {
		errs = append(errs, unix.Close(fd))
	}
	errs = append(errs, closeAll(l.files))
	l.covers, l.cleanUps, l.fds, l.files = nil, nil, nil, nil
	return shifts, errors.Join(errs...)
}

// uncover undoes one mount. It goes on after a failure: as much as can be is put back.
func (l *laid) uncover(c *cover) error {
	present, err := l.revive(c.spot)
	errs := []error{err}
	if c.giveBack != nil {
		errs = append(errs, c.giveBack())
	}
	errs = append(errs, l.takeAway(c, present))
	if present {
		errs = append(errs, l.putBack(c))
	}
	errs = append(errs, l.removeStubs(c.spot))
	if err := errors.Join(errs...); err != nil {
		return failure("undo mount", c.spot.path, err)
	}
	return nil
}

// hold keeps a descriptor until all is removed.
func (l *laid) hold(fd int) int {
	l.fds = append(l.fds, fd)
	return fd
}
