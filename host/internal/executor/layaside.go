package executor

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// A builder that is killed leaves covered what its process's mounts covered. So the aside directory says what belongs where,
// and whoever uses it next puts that back first.

const (
	asideIndex = "index"
	// asidePrefix is that of names in a covered thing's own directory, where it is on another file system.
	asidePrefix = ".trowel-aside-"
)

// asideState says how far something is on its way.
type asideState string

const (
	asideWhole     asideState = "whole"     // it is moved at once, with all that is in it
	asideLeaving   asideState = "leaving"   // the entries of a directory that stays are moved one by one
	asideEmpty     asideState = "empty"     // and all have been
	asideReturning asideState = "returning" // they are on their way back
	asideTarget    asideState = "target"    // nothing was there
	asideStub      asideState = "stub"      // nor was there this directory above it
)

// asideEntry is a line of the index. The last one of a name counts.
type asideEntry struct {
	name  string
	state asideState
	path  string
}

// noteAside says what is going to happen.
func (l *laid) noteAside(name string, state asideState, target string) error {
	fd, err := unix.Openat(l.aside, asideIndex, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), asideIndex)
	_, err = fmt.Fprintf(f, "%s %s %q\n", name, state, target)
	return errors.Join(err, f.Close())
}

// forgetAside empties the index when everything is back, and keeps it otherwise.
func (l *laid) forgetAside() error {
	entries, err := l.readAside()
	if err != nil || entries == nil {
		return err
	}
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Fstatat(l.aside, e.name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			return nil
		}
	}
	return unix.Unlinkat(l.aside, asideIndex, 0)
}

// readAside reads the index; it is nil where there is none.
func (l *laid) readAside() (_ []asideEntry, err error) {
	fd, err := unix.Openat(l.aside, asideIndex, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, failure("read what lies aside", asideIndex, err)
	}
	f := os.NewFile(uintptr(fd), asideIndex)
	defer also(&err, f.Close)
	entries := []asideEntry{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var e asideEntry
		// A line that is cut off was written by a builder that did not live to move anything.
		if n, _ := fmt.Sscanf(lines.Text(), "%s %s %q", &e.name, &e.state, &e.path); n == 3 {
			if i := slices.IndexFunc(entries, func(o asideEntry) bool { return o.name == e.name }); i >= 0 {
				entries[i] = e
			} else {
				entries = append(entries, e)
			}
		}
	}
	return entries, lines.Err()
}

// recover puts back what a killed builder left aside.
func (l *laid) recover() error {
	entries, err := l.readAside()
	if err != nil || entries == nil {
		return err
	}
	for _, e := range slices.Backward(entries) {
		if err := l.recoverEntry(e); err != nil {
			return &SetupError{
				Call: "put back what a killed builder moved aside", Subject: "/" + e.path, Err: err,
				Hint: fmt.Sprintf("it is %q in the builder's aside directory", e.name),
			}
		}
	}
	return l.forgetAside()
}

func (l *laid) recoverEntry(e asideEntry) error {
	parent, err := resolve(l.root, path.Dir(e.path), unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if errors.Is(err, unix.ENOENT) && (e.state == asideTarget || e.state == asideStub) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(parent) }()
	base := path.Base(e.path)
	switch e.state {
	case asideTarget:
		return rootfs.RemoveAt(parent, base)
	case asideStub:
		if err := removeEmpty(parent, base, e.path); !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	}
	dir, name := l.aside, e.name
	var st unix.Stat_t
	err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		dir, name = parent, asidePrefix+e.name
		err = unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil // it was not moved any more, or has been put back
	}
	if err != nil {
		return err
	}
	if e.state == asideWhole {
		return errors.Join(rootfs.RemoveAt(parent, base), rename(dir, name, parent, base))
	}
	s := &spot{path: e.path, levels: []*level{{fd: parent}}, name: base}
	c := &cover{spot: s, hidden: &covered{dir: dir, name: name, entries: true}}
	if e.state == asideEmpty {
		err = l.emptyAgain(c)
	}
	return errors.Join(err, l.putBack(c))
}
