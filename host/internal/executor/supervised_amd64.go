package executor

import (
	"context"
	"encoding/gob"
	"errors"
	"io"
	"math"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
	"github.com/trowel-build/trowel/host/internal/procview"
)

// Descriptors of the supervisor's two children.
const (
	meetingFD = filesFD     // the socket between them
	tellFD    = filesFD + 1 // the server's pipe to the builder
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

// serveMain is the server.
func serveMain() {
	runtime.LockOSThread() // this thread stays who it is, and dies with the supervisor
	tell := os.NewFile(tellFD, "tell")
	if err := serve(tell); err != nil {
		tellLine(tell, tellFailure, err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(tell *os.File) error {
	if err := Harden(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return failure("set parent death signal", "", err)
	}
	if err := closeOnExec(); err != nil {
		return err
	}
	// By offset: others read the same description.
	var o order
	if err := gob.NewDecoder(io.NewSectionReader(os.NewFile(specFD, "order"), 0, math.MaxInt64)).Decode(&o); err != nil {
		return failure("read the order", "", err)
	}
	rights, err := rightsBut(unix.CAP_SYS_CHROOT)
	if err != nil {
		return err
	}
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failure("open", "/proc", err)
	}
	if err := enterChroot(o.Chroot); err != nil {
		return err
	}
	unix.Umask(0)
	listener, err := notify.Receive(meetingFD)
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
		Listener: notify.Listen(listener), Proc: proc, Reaper: os.Getppid(), Capabilities: capabilitySet(rights), Files: secrets,
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
