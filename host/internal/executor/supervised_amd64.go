package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
	"github.com/trowel-build/trowel/host/internal/procview"
)

const (
	tellFD    = filesFD // the server's pipe to the builder
	meetingFD = filesFD // the step's socket to the server
)

// becomeServed hands this thread's system calls over to the server and becomes a user like any in a chroot.
func becomeServed(ids identities, u User) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return failure("give up new privileges", "", err)
	}
	listener, err := notify.Install(procview.Program())
	if err != nil {
		return &SetupError{Call: "stop system calls", Err: err, Hint: "it takes a container profile that allows seccomp(2)"}
	}
	if err := errors.Join(notify.Send(meetingFD, listener), unix.Close(listener), unix.Close(meetingFD)); err != nil {
		return failure("hand over the listener", "", err)
	}
	return becomeChrooted(ids, u)
}

// serveMain is the server. It ends as the command does.
func serveMain() {
	runtime.LockOSThread() // this thread is the command's parent, stays who it is, and dies with the supervisor
	tell := os.NewFile(tellFD, "tell")
	status, err := serve(tell)
	if err != nil {
		tellLine(tell, tellFailure, err.Error())
		os.Exit(1)
	}
	tellLine(tell, tellDone, "")
	endAs(status)
}

func serve(tell *os.File) (unix.WaitStatus, error) {
	if err := Harden(); err != nil {
		return 0, err
	}
	for option, value := range map[int]uintptr{unix.PR_SET_PDEATHSIG: uintptr(unix.SIGKILL), unix.PR_SET_CHILD_SUBREAPER: 1} {
		if err := unix.Prctl(option, value, 0, 0, 0); err != nil {
			return 0, failure("set process attribute", fmt.Sprint(option), err)
		}
	}
	if err := closeOnExec(); err != nil {
		return 0, err
	}
	o, err := peekOrder()
	if err != nil {
		return 0, err
	}
	step, meeting, err := startServed()
	if err != nil {
		return 0, err
	}
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, failure("open", "/proc", err)
	}
	debug.SetGCPercent(200) // off in what becomes a command soon
	go func() {
		if err := answer(o, proc, meeting, tell); err != nil {
			tellLine(tell, tellFailure, err.Error())
			os.Exit(1)
		}
	}()
	status, err := waitFor(step)
	if err != nil {
		return 0, err
	}
	return status, procview.End(proc)
}

// startServed starts the step, with a socket to it.
func startServed() (step, meeting int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, failure("create sockets", "", err)
	}
	step, err = syscall.ForkExec(descriptorPath(selfFD), []string{argStep}, &syscall.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []uintptr{0, 1, 2, selfFD, specFD, reportFD, uintptr(pair[1])},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, 0, explainStart(err)
	}
	// The builder reads the report to its end.
	return step, pair[0], errorOf("close descriptors", errors.Join(unix.Close(pair[1]), unix.Close(reportFD)))
}

// waitFor waits for the step, and reaps orphans meanwhile.
func waitFor(step int) (unix.WaitStatus, error) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return 0, failure("wait for processes", "", err)
		case pid == step:
			return status, nil
		}
	}
}

// answer answers the step's system calls until nobody is left to make any.
func answer(o order, proc, meeting int, tell *os.File) error {
	rights, err := rightsBut(unix.CAP_SYS_CHROOT)
	if err != nil {
		return err
	}
	if err := enterChroot(o.Chroot); err != nil {
		return err
	}
	unix.Umask(0)
	listener, err := notify.Receive(meeting)
	if errors.Is(err, io.EOF) {
		return nil // the step did not come so far, and says itself why
	}
	if err != nil {
		return err
	}
	var secrets []procview.File
	for _, m := range o.Process.Mounts {
		secrets = append(secrets, procview.File{Path: m.Target, Content: m.Content, Mode: m.Mode, UID: m.UID, GID: m.GID})
	}
	return procview.Serve(context.Background(), procview.Config{
		Listener: notify.Listen(listener), Proc: proc, Capabilities: capabilitySet(rights), Files: secrets,
		Note: func(text string) { tellLine(tell, tellNote, text) },
	})
}

func capabilitySet(list []uint) uint64 {
	set := uint64(0)
	for _, c := range list {
		set |= 1 << c
	}
	return set
}
