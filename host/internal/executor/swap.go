package executor

import (
	"errors"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// A swap lets a plain root file system be the builder's own root directory for as long as a process runs: the entries of the
// root go away into a hidden directory, those of the plain directory come into their place, and afterwards each goes back to
// where it was. That is a rename for each entry, whatever is below it.
//
// What cannot or must not be moved is pinned: mount points, and what the builder reads by its path. A directory on the way to
// a pin is a spine: it stays too, its other entries are swapped one by one, and meanwhile it looks as the plain directory's.
//
// The journal says how far a swap has come. Whoever finds one of a builder that is no more undoes the swap; see [Recover].
type swap struct {
	own   string // path of the hidden directory
	root  int    // the root directory
	stage int    // the plain directory
	away  int    // takes what was in the root
	j     *journal

	moved map[string]*shifting // the files that come in, by path: see shift.go
	held  func() []string      // directories that somebody is in or has open, by path: see held.go
}

// enter swaps the plain directory in. Whatever it returns, leave must follow.
func (s *swap) enter() error {
	look, err := readLook(s.root)
	if err != nil {
		return failure("look at directory", "/", err)
	}
	s.j.spine("").Look = look
	if err := s.j.write(s.own, phaseAway); err != nil {
		return err
	}
	if err := s.sendAway("", s.root, s.away); err != nil {
		return err
	}
	if err := s.survey("", s.stage, s.root); err != nil {
		return err
	}
	if err := s.j.write(s.own, phaseIn); err != nil {
		return err
	}
	if err := s.bringIn("", s.stage, s.root); err != nil {
		return err
	}
	return s.noteTimes(s.root, func(m *shifting, t unix.Timespec) { m.in = t })
}

// leave undoes a swap from wherever it has got to, and forgets it.
func (s *swap) leave() error {
	if s.j.Phase == phaseIn {
		if err := s.noteTimes(s.root, func(m *shifting, t unix.Timespec) { m.out = t }); err != nil {
			return err
		}
		if err := s.takeOut("", s.root, s.stage); err != nil {
			return err
		}
		if err := s.j.write(s.own, phaseBack); err != nil {
			return err
		}
	}
	if err := s.putBack("", s.away, s.root); err != nil {
		return err
	}
	if err := s.restoreLooks(); err != nil {
		return err
	}
	return s.j.remove(s.own)
}

// sendAway moves the entries of a directory of the root into the hidden one.
func (s *swap) sendAway(at string, from, to int) error {
	return eachName(from, at, func(name string) error {
		where := path.Join(at, name)
		switch {
		case s.j.pinned(where):
			return nil
		case s.j.spine(where) != nil:
			return s.sendSpineAway(where, name, from, to)
		}
		err := rename(from, name, to, name)
		if !errors.Is(err, unix.EXDEV) {
			return moving("move out of the way", where, err)
		}
		// A directory of the container's image, in a layer below the one that can be written.
		if s.j.pinMounts(where) || s.hold(where) {
			if err := s.j.write(s.own, s.j.Phase); err != nil {
				return err
			}
			return s.sendSpineAway(where, name, from, to)
		}
		return s.makeAnew(where, name, from, to)
	})
}

func (s *swap) sendSpineAway(where, name string, from, to int) error {
	if err := unix.Mkdirat(to, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return failure("make directory", "/"+where, err)
	}
	err := both(where, name, from, to, func(from, to int) error {
		look, err := readLook(from)
		if err != nil {
			return failure("look at directory", "/"+where, err)
		}
		s.j.spine(where).Look = look
		if err := s.j.write(s.own, s.j.Phase); err != nil {
			return err
		}
		return s.sendAway(where, from, to)
	})
	if err != nil {
		return err
	}
	return removeEmpty(to, name, where)
}

// makeAnew moves a directory that cannot be renamed: it is made again, and its entries move. It costs as much as a copy of
// it, once for each directory in the life of a container.
func (s *swap) makeAnew(where, name string, from, to int) error {
	if err := unix.Mkdirat(to, name, 0o700); err != nil {
		return failure("make directory", "/"+where, err)
	}
	err := both(where, name, from, to, func(from, to int) error {
		look, err := readLook(from)
		if err != nil {
			return failure("look at directory", "/"+where, err)
		}
		if err := s.sendAway(where, from, to); err != nil {
			return err
		}
		return moving("make directory again", where, look.apply(to))
	})
	if err != nil {
		return err
	}
	return moving("remove directory", where, unix.Unlinkat(from, name, unix.AT_REMOVEDIR))
}

// bringIn moves the entries of the plain directory into the root.
func (s *swap) bringIn(at string, from, to int) error {
	look, err := readLook(from)
	if err != nil {
		return failure("look at directory", "/"+at, err)
	}
	err = eachName(from, at, func(name string) error {
		where := path.Join(at, name)
		if s.j.pinned(where) {
			return nil // unseen, as below a mount: see survey
		}
		spine := s.j.spine(where)
		if spine == nil {
			return moving("move into place", where, rename(from, name, to, name))
		}
		spine.Shown = true
		if err := s.j.write(s.own, s.j.Phase); err != nil {
			return err
		}
		return both(where, name, from, to, func(from, to int) error { return s.bringIn(where, from, to) })
	})
	if err != nil {
		return err
	}
	return moving("change directory", at, look.apply(to))
}

// takeOut moves the entries of the root into the plain directory.
func (s *swap) takeOut(at string, from, to int) error {
	look, err := readLook(from)
	if err != nil {
		return failure("look at directory", "/"+at, err)
	}
	err = eachName(from, at, func(name string) error {
		where := path.Join(at, name)
		switch {
		case s.j.pinned(where):
			return nil
		case s.j.spine(where) != nil:
			return s.takeSpineOut(where, name, from, to)
		}
		return moving("move out of place", where, rename(from, name, to, name))
	})
	if err != nil {
		return err
	}
	return moving("change directory", at, look.apply(to))
}

// takeSpineOut takes out what is in a spine. One that the plain directory lacks is made there, if there is something to put
// into it.
func (s *swap) takeSpineOut(where, name string, from, to int) error {
	spine := s.j.spine(where)
	if !spine.Shown {
		some, err := s.hasContent(where, from, name)
		if err != nil || !some {
			return err
		}
		spine.Shown = true
		if err := s.j.write(s.own, s.j.Phase); err != nil {
			return err
		}
	}
	if err := unix.Mkdirat(to, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return failure("make directory", "/"+where, err)
	}
	return both(where, name, from, to, func(from, to int) error { return s.takeOut(where, from, to) })
}

// hasContent tells whether a spine has anything that is not the container's.
func (s *swap) hasContent(where string, from int, name string) (some bool, err error) {
	dir, err := openSub(from, name)
	if err != nil {
		return false, failure("open directory", "/"+where, err)
	}
	defer also(&err, func() error { return unix.Close(dir) })
	err = eachName(dir, where, func(name string) error {
		at := path.Join(where, name)
		switch {
		case s.j.pinned(at):
		case s.j.spine(at) != nil:
			below, err := s.hasContent(at, dir, name)
			some = some || below
			return err
		default:
			some = true
		}
		return nil
	})
	return some, err
}

// putBack moves what was sent away to where it was.
func (s *swap) putBack(at string, from, to int) error {
	return eachName(from, at, func(name string) error {
		where := path.Join(at, name)
		err := rename(from, name, to, name)
		if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOTEMPTY) {
			return moving("move back", where, err)
		}
		// A spine, or one that was being made anew.
		err = both(where, name, from, to, func(from, to int) error { return s.putBack(where, from, to) })
		if err != nil {
			return err
		}
		return moving("remove directory", where, unix.Unlinkat(from, name, unix.AT_REMOVEDIR))
	})
}

// restoreLooks gives the spines their own looks back, the lowest first, for that of a directory includes its time.
func (s *swap) restoreLooks() error {
	for _, spine := range slices.Backward(s.j.Spines) {
		if spine.Look == nil {
			continue // not got to
		}
		dir, err := unix.Openat2(s.root, path.Join("/", spine.Path), &unix.OpenHow{
			Flags: dirFlags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS,
		})
		if err != nil {
			return failure("open directory", "/"+spine.Path, err)
		}
		if err := errors.Join(spine.Look.apply(dir), unix.Close(dir)); err != nil {
			return failure("change directory", "/"+spine.Path, err)
		}
	}
	return nil
}

func moving(call, where string, err error) error {
	if err == nil {
		return nil
	}
	return failure(call, "/"+where, err)
}
