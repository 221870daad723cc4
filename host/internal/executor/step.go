package executor

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// stepMain is the child of a step: it makes the root file system from the inside and becomes the command.
func stepMain() {
	say := newReporter(os.NewFile(reportFD, "report"))
	err := step(say)
	if err != nil && say.fail(err) != nil {
		os.Exit(2) // the builder is gone
	}
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// step returns nil only where the order was to try.
func step(say *reporter) error {
	if err := shield(); err != nil {
		return err
	}
	o, err := readOrder()
	if err != nil {
		return err
	}
	p := o.Process
	ids, err := readIdentities(p.User)
	if err != nil {
		return err
	}
	ids.recorder = recording{p.Recorder, p.RecordedUser}
	become := becomeConfined
	if p.Privileges == PrivilegesBuilder {
		become = becomePrivileged
	}
	switch {
	case o.Hidden != "":
		become = becomeHere
	case o.Chroot == "":
		err = assemble(o, ids)
	case o.Served:
		become, err = becomeServed, enterChroot(o.Chroot)
	default:
		become, err = becomeChrooted, enterChroot(o.Chroot)
	}
	if err != nil {
		return err
	}
	if p.Hostname != "" {
		if err := unix.Sethostname([]byte(p.Hostname)); err != nil {
			return failure("set host name", p.Hostname, err)
		}
	}
	if p.Network == NetworkNone {
		if err := raiseLoopback(); err != nil {
			return err
		}
	}
	if err := replaceStdin(); err != nil {
		return err
	}
	if err := confine(ids, p, become); err != nil {
		return err
	}
	if o.Action == actionProbe {
		return say.ready()
	}
	return execute(p, say)
}

// shield is done before anything else: the child dies with its builder, keeps its memory to itself and hands no descriptor
// to the command.
func shield() error {
	if err := Harden(); err != nil {
		return err
	}
	if err := dieWithParent(); err != nil {
		return err
	}
	unix.Umask(0) // modes below are meant as written
	return closeOnExec()
}

// dieWithParent asks for the parent's death as a signal, and checks that it has not happened: getppid says 0 across PID
// namespaces, but a pipe whose reader is gone says so.
func dieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return failure("set parent death signal", "", err)
	}
	fds := []unix.PollFd{{Fd: reportFD}}
	if _, err := unix.Poll(fds, 0); err != nil && !errors.Is(err, unix.EINTR) {
		return failure("poll the builder's pipe", "", err)
	}
	if fds[0].Revents&unix.POLLERR != 0 {
		os.Exit(2)
	}
	return nil
}

// closeOnExec marks every descriptor but the standard ones, also those that leaked into the builder from its own parent.
func closeOnExec() error {
	err := unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC)
	if !errors.Is(err, unix.EINVAL) {
		if err != nil {
			return failure("mark descriptors close-on-exec", "", err)
		}
		return nil
	}
	return closeOnExecOneByOne() // Linux 5.10
}

func closeOnExecOneByOne() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return failure("list own descriptors", "", err)
	}
	for _, entry := range entries {
		fd := 0
		for _, c := range entry.Name() {
			fd = fd*10 + int(c-'0')
		}
		if fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// replaceStdin gives the command its own /dev/null rather than the builder's.
func replaceStdin() error {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return failure("open", "/dev/null", err)
	}
	if err := unix.Dup3(fd, 0, 0); err != nil {
		return failure("replace standard input", "", err)
	}
	if err := unix.Close(fd); err != nil {
		return failure("close", "/dev/null", err)
	}
	return nil
}

// raiseLoopback brings up lo in a new network namespace.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return failure("open socket for the loopback interface", "", err)
	}
	ifr, err := unix.NewIfreq("lo")
	if err == nil {
		ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return failure("bring up loopback interface", "", err)
	}
	return nil
}
