package executor

import (
	"cmp"
	"errors"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// shifting are the status change times of one file that a swap moves: as it was, after it came in, before it went out, and
// afterwards. Each is read for all files together: two of them may be one, by hard links.
type shifting struct{ old, in, out, new unix.Timespec }

// survey looks at what is going to come in: there must be nothing that what is pinned would hide.
func (s *swap) survey(at string, stage, root int) error {
	return eachName(stage, at, func(name string) error {
		where := path.Join(at, name)
		var st unix.Stat_t
		if err := unix.Fstatat(stage, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return failure("stat", "/"+where, err)
		}
		isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
		switch pin, spine := s.j.pin(where), s.j.spine(where); {
		case pin != nil:
			return s.checkHidden(pin, stage, name, isDir)
		case spine != nil && !isDir:
			return hiddenError(where, "it is no directory, and the container has one there that cannot be moved")
		case spine != nil:
			return both(where, name, stage, root, func(stage, root int) error { return s.survey(where, stage, root) })
		case !isDir:
			s.moved[where] = &shifting{old: st.Ctim}
		}
		return nil
	})
}

// checkHidden refuses what a process would have to see and cannot.
func (s *swap) checkHidden(p *pin, stage int, name string, isDir bool) (err error) {
	if p.Kind == pinKernel {
		return nil // hidden in every rung
	}
	if !isDir {
		return hiddenError(p.Path, "the container has a mount, or something of the builder's, there")
	}
	dir, err := openSub(stage, name)
	if err != nil {
		return failure("open directory", "/"+p.Path, err)
	}
	defer also(&err, func() error { return unix.Close(dir) })
	return eachName(dir, p.Path, func(name string) error {
		return hiddenError(path.Join(p.Path, name), stays(p))
	})
}

func hiddenError(where, why string) error {
	return &SetupError{
		Call: "show in place", Subject: "/" + where, Err: errors.New(why),
		Hint: "mount the container's volume elsewhere, choose another directory in the Dockerfile, or another --isolation",
	}
}

// noteTimes reads the times of all files that are moved.
func (s *swap) noteTimes(dir int, note func(*shifting, unix.Timespec)) error {
	for where, m := range s.moved {
		t, err := changeTime(dir, where)
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			delete(s.moved, where) // the process has removed it
		case err != nil:
			return failure("stat", "/"+where, err)
		default:
			note(m, t)
		}
	}
	return nil
}

// settle waits until the files that came in are older than the clock by which the kernel dates changes: one that the process
// makes at once would else look like none.
func (s *swap) settle() {
	var last unix.Timespec
	for _, m := range s.moved {
		if m.in.Nano() > last.Nano() {
			last = m.in
		}
	}
	for now := (unix.Timespec{}); now.Nano() <= last.Nano(); {
		if unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now) != nil || now.Nano() > last.Nano() {
			return
		}
		tick := unix.NsecToTimespec(500_000)
		_ = unix.Nanosleep(&tick, nil)
	}
}

// shifts are the files whose times the swap and what was laid meanwhile alone have changed. It is asked after leave.
func (s *swap) shifts(laid []Shift) ([]Shift, error) {
	if err := s.noteTimes(s.stage, func(m *shifting, t unix.Timespec) { m.new = t }); err != nil {
		return nil, err
	}
	var list []Shift
	for _, l := range laid {
		m := s.moved[l.Path]
		if m == nil {
			list = append(list, l)
		} else if l.Old == m.in {
			m.in = l.New
		}
	}
	for where, m := range s.moved {
		if m.in == m.out {
			list = append(list, Shift{Path: where, Old: m.old, New: m.new})
		}
	}
	slices.SortFunc(list, func(a, b Shift) int { return cmp.Compare(a.Path, b.Path) })
	return list, nil
}

// changeTime reads the time of one file below a directory, whatever it is.
func changeTime(dir int, where string) (t unix.Timespec, err error) {
	fd, err := unix.Openat2(dir, where, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return t, err
	}
	var st unix.Stat_t
	err = errors.Join(unix.Fstat(fd, &st), unix.Close(fd))
	return st.Ctim, err
}
