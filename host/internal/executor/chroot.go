package executor

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// In [RungChroot] the plain directory becomes the process's root by chroot(2), for which it takes CAP_SYS_CHROOT and nothing
// that a default container withholds. There is no namespace: the process shares the builder's processes, network and host
// name, and is kept from them by what it has not got. What holds it:
//
//   - It has no right to chroot, which a process could leave its root directory by, and cannot get one: the bounding set has
//     lost it, and no_new_privs keeps set-user-ID programs from giving rights. That the builder has a right which the
//     process lacks also keeps the kernel from letting it trace the builder or look into its memory.
//   - Landlock, where the kernel has it, holds back files outside the directory a second time, signals and abstract sockets.
//   - The seccomp filter is that of the other rungs.
//   - /proc is a directory of ordinary files: see [kernelDirs].
//
// What it cannot do as a container could: set-user-ID programs gain nothing, and what needs its own process's /proc fails.

// runChroot is [Launcher.RunPlain] in [RungChroot].
func (l *Launcher) runChroot(ctx context.Context, root Plain, p Process) ([]Shift, error) {
	return l.inChroot(ctx, actionRun, root, p)
}

func (l *Launcher) inChroot(ctx context.Context, what action, root Plain, p Process) (_ []Shift, err error) {
	if err := chrootOffers(p); err != nil {
		return nil, err
	}
	dir, aside, err := openPlain(root.Dir, root.Aside)
	if err != nil {
		return nil, err
	}
	defer also(&err, func() error { return errors.Join(dir.Close(), aside.Close()) })
	kernel, err := layKernel(int(dir.Fd()), int(aside.Fd()))
	defer also(&err, kernel.remove)
	if err != nil {
		return nil, err
	}
	laid, err := lay(ctx, dir, aside, p)
	if err != nil {
		return nil, err
	}
	err = l.startChroot(ctx, what, root, p)
	shifts, removeErr := laid.remove()
	return shifts, errors.Join(err, removeErr)
}

// chrootOffers refuses what takes namespaces.
func chrootOffers(p Process) error {
	const hint = "it takes namespaces: trowel doctor tells what keeps this machine from making them"
	if p.Network == NetworkNone {
		return &SetupError{Call: "cut off the network", Err: errors.ErrUnsupported, Hint: hint}
	}
	if p.Privileges == PrivilegesBuilder {
		return &SetupError{Call: "give the builder's privileges", Err: errors.ErrUnsupported, Hint: hint}
	}
	return nil
}

func (l *Launcher) startChroot(ctx context.Context, what action, root Plain, p Process) (err error) {
	p.Mounts, p.ResolvConf, p.Hosts, p.Hostname = nil, nil, nil, "" // laid, or not to be had
	w, files, err := p.wire()
	if err != nil {
		return err
	}
	defer also(&err, func() error { return closeAll(files) })
	w.Proc = ProcBound // the builder's process IDs: the supervisor kills what is left behind
	return l.start(ctx, order{Chroot: root.Dir, Process: w, Action: what}, p, files)
}

// enterChroot makes a directory the root.
func enterChroot(dir string) error {
	fd, err := openDirectory(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Fchdir(fd), unix.Close(fd)); err != nil {
		return failure("enter root file system", dir, err)
	}
	if err := unix.Chroot("."); err != nil {
		setup := &SetupError{Call: "chroot", Err: err}
		if errors.Is(err, unix.EPERM) {
			setup.Hint = "needs the capability SYS_CHROOT, which root in a container has by default"
		}
		return setup
	}
	return errorOf("enter root", unix.Chdir("/"))
}

// becomeChrooted becomes a user with what a container has, and without a way out of the root directory. Order matters: the
// filter needs no_new_privs, and dropping rights needs a right.
func becomeChrooted(ids identities, u User) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return failure("give up new privileges", "", err)
	}
	if err := restrictToRoot(); err != nil {
		return err
	}
	if err := filterCalls(); err != nil {
		return err
	}
	rights, err := rightsBut(unix.CAP_SYS_CHROOT)
	if err != nil {
		return err
	}
	// Without CAP_SETPCAP the set cannot be changed; no_new_privs alone keeps it from being drawn on then.
	if err := boundCapabilities(rights); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	if err := becomeUser(ids, u); err != nil {
		return err
	}
	return setCapabilities(u, rights)
}

// rightsBut are those of a container that this process has, without one.
func rightsBut(withheld uint) ([]uint, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil, failure("read capabilities", "", err)
	}
	var rights []uint
	for _, c := range capabilities() {
		if c != withheld && data[c/32].Permitted&(1<<(c%32)) != 0 {
			rights = append(rights, c)
		}
	}
	return rights, nil
}

// executableFor gives this program's file to start a child from. What runs in a chroot finds no /proc/self/exe to get hold of
// it by, and what runs in place finds the file anyway, so there the file itself will do; elsewhere see executable.
func (l *Launcher) executableFor(o order) (*os.File, error) {
	if o.Chroot == "" && o.Hidden == "" {
		return l.executable()
	}
	l.plainSelf.Do(func() { l.plainFile, l.plainErr = os.Open("/proc/self/exe") })
	return l.plainFile, l.plainErr
}
