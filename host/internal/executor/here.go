package executor

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// In place nothing keeps a process from what the builder's user may do: it sees the builder's processes, and finds what the
// builder keeps on disk if it looks for it. What holds without a right that the builder lacks:
//
//   - The builder's memory, environment and descriptors cannot be read: it is not dumpable, and where it may change the bounding
//     set it has a capability that the process lacks. The process has no CAP_SYS_PTRACE that would not mind.
//   - The process has the standard descriptors alone, and no capability that Docker would not give it.
//   - What it leaves running is killed, also where it has killed its supervisor: see strays.go.

// runInPlace runs a process with a plain directory in the place of the builder's own root directory.
func (l *Launcher) runInPlace(ctx context.Context, root Plain, p Process) (_ []Shift, err error) {
	if err := checkHere(p); err != nil {
		return nil, err
	}
	h, err := openInPlace(ctx, "/", HiddenDir)
	if err != nil {
		return nil, err
	}
	defer also(&err, h.close)
	own, err := findProgram()
	if err != nil {
		return nil, err
	}
	hidden, err := os.Open(HiddenDir)
	if err != nil {
		return nil, failure("open hidden directory", HiddenDir, err)
	}
	defer also(&err, hidden.Close)
	v, err := drawVeil(hidden, root.Veil, func(path string, err error) { l.tellOnce(p, path, err) })
	if err != nil {
		return nil, err
	}
	defer also(&err, func() error {
		if errors.Is(err, errStrays) {
			return v.memory.Close() // they are at large
		}
		return v.lift()
	})
	s, err := h.swapIn(root)
	if s == nil {
		return nil, err
	}
	defer also(&err, s.close)
	var laid []Shift
	if err == nil {
		laid, err = l.runSwapped(ctx, h, s, v, root, p)
	}
	if leaveErr := s.leave(); leaveErr != nil {
		return nil, errors.Join(err, leaveErr)
	}
	if err := errors.Join(err, own.check()); err != nil {
		return nil, err
	}
	return s.shifts(laid)
}

// tellOnce says of a file with credentials that it cannot be kept from processes.
func (l *Launcher) tellOnce(p Process, path string, err error) {
	if _, told := l.told.LoadOrStore(path, true); !told && p.Notice != nil {
		p.Notice(fmt.Sprintf("processes that run in place can read %q, which cannot be taken off the disk meanwhile: %v", path, err))
	}
}

// checkHere refuses what needs namespaces.
func checkHere(p Process) error {
	const call, hint = "run in place", "choose another --isolation, or a container that may make namespaces"
	switch {
	case p.Network == NetworkNone:
		return &SetupError{Call: call, Err: errors.New("a process has the container's network there, and cannot be without one"), Hint: hint}
	case p.Privileges == PrivilegesBuilder:
		return &SetupError{Call: call, Err: errors.New("a process cannot be given more than a container's privileges there"), Hint: hint}
	}
	return nil
}

// runSwapped runs a process in the root directory, which is its own now.
func (l *Launcher) runSwapped(ctx context.Context, h *inPlace, s *swap, v *veil, r Plain, p Process) (_ []Shift, err error) {
	guard, err := watch(h.root, s.j.Pins)
	if err != nil {
		return nil, err
	}
	root, aside, err := openPlain(h.root, r.Aside)
	if err != nil {
		return nil, err
	}
	defer also(&err, func() error { return errors.Join(root.Close(), aside.Close()) })
	shown, err := lay(ctx, root, aside, p)
	if err != nil {
		return nil, err
	}
	s.settle()
	began, err := fileClock()
	if err == nil {
		err = l.startHere(ctx, h, v, p)
	}
	p.tellReached(s.away, began)
	shifts, removeErr := shown.remove()
	return shifts, errors.Join(err, removeErr, guard.check())
}

func (l *Launcher) startHere(ctx context.Context, h *inPlace, v *veil, p Process) (err error) {
	p.Mounts, p.ResolvConf, p.Hosts, p.Hostname = nil, nil, nil, "" // laid, or not to be had
	w, files, err := p.wire()
	if err != nil {
		return err
	}
	defer also(&err, func() error { return closeAll(files) })
	w.Proc = ProcBound // the builder's process IDs: the supervisor kills what is left behind
	return l.start(ctx, order{Process: w, Action: actionRun, Hidden: h.dir, lock: h.lock, veil: v.memory}, p, files)
}

// withheld is the capability that the builder keeps for itself, so that the kernel denies the process its memory. A package's
// scripts do without CAP_SETPCAP; without CAP_SYS_CHROOT those that install into another root directory would fail.
const withheld = unix.CAP_SETPCAP

// becomeHere becomes a user with what a container has, as far as the builder has it.
func becomeHere(ids identities, u User) error {
	if mayMount() { // else they would cost no_new_privs, and with it sudo; the container has a filter of its own
		if err := errors.Join(scope(), filterCalls()); err != nil {
			return err
		}
	}
	rights, err := rightsBut(withheld)
	if err != nil {
		return err
	}
	// Without CAP_SETPCAP the set cannot be changed, and the builder has nothing to withhold.
	if err := boundCapabilities(rights); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	if err := becomeUser(ids, u); err != nil {
		return err
	}
	return setCapabilities(u, rights)
}

// TimesTell says that a file's status change time tells of every change that a process in place made to it: none can set the
// clock, or put something in a file's place by mounting it there. What the builder has no way to gain no process of its has.
func TimesTell() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return false
	}
	for _, c := range []uintptr{unix.CAP_SYS_TIME, unix.CAP_SYS_ADMIN} {
		gain, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if has := data[0].Permitted | data[0].Inheritable; err != nil || gain != 0 || has&(1<<c) != 0 {
			return false
		}
	}
	return true
}

// mayMount says whether this thread has CAP_SYS_ADMIN.
func mayMount() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// builderProgram is the builder's executable, by its name and as the file that it is.
type builderProgram struct {
	path string
	file os.FileInfo
}

// findProgram finds it. One that has no name any more need not be looked after.
func findProgram() (builderProgram, error) {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return builderProgram{}, failure("find own executable", "", err)
	}
	running, err := os.Stat("/proc/self/exe")
	if err != nil {
		return builderProgram{}, failure("stat own executable", path, err)
	}
	named, err := os.Stat(path)
	if err != nil || !os.SameFile(named, running) {
		return builderProgram{}, nil //nolint:nilerr // see above
	}
	return builderProgram{path, running}, nil
}

// check makes sure that the next build in this container starts the same program: it cannot be written to while it runs, but
// another file can be put in its place.
func (p builderProgram) check() error {
	if p.path == "" {
		return nil
	}
	if now, err := os.Stat(p.path); err == nil && os.SameFile(now, p.file) {
		return nil
	}
	return failure("run in place", p.path, errors.New("the process has replaced the builder's own program"))
}
