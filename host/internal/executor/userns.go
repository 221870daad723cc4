package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// syncFD is the pipe on which a process waits for its ID maps.
const syncFD = 3

// EnterUserNamespace starts this program once more, with args after its name, as root of a new user namespace, and waits for
// it. It has the same standard descriptors and environment; signals are passed on. There, Main returns a Launcher whose
// [Launcher.UserNamespace] is its own. The result is the program's exit code.
//
// An ordinary user gets the IDs that /etc/subuid and /etc/subgid give, by newuidmap and newgidmap, or its own alone. Root
// keeps every ID it has.
func (l *Launcher) EnterUserNamespace(ctx context.Context, args []string) (int, error) {
	argv := append([]string{argInside, strconv.Itoa(os.Getpid()), os.Args[0]}, args...)
	cmd := mappedCommand(ctx, argv)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = os.Environ()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)

	runtime.LockOSThread() // the program inside dies with this thread
	defer runtime.UnlockOSThread()
	if err := startMapped(ctx, cmd); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			// Gone already is as good.
			if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return 0, failure("pass on signal", s.String(), err)
			}
		case err := <-done:
			return insideResult(ctx, err)
		}
	}
}

func insideResult(ctx context.Context, err error) (int, error) {
	err = exitError(err)
	var exit *ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return exit.Code, nil
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	}
	return 0, failure("wait for the program in the user namespace", "", err)
}

// forwarded lists the signals to pass on. What the terminal sends to its foreground processes reaches the program inside
// anyway; this one must only outlive it.
func forwarded() []os.Signal {
	return []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2}
}

// mappedCommand prepares a run of this program in a new user and mount namespace, as argv.
func mappedCommand(ctx context.Context, argv []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{argMapped}, argv...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// startMapped starts it, writes its ID maps and lets it go on.
func startMapped(ctx context.Context, cmd *exec.Cmd) (err error) {
	read, write, err := os.Pipe()
	if err != nil {
		return failure("create pipe", "", err)
	}
	cmd.ExtraFiles = []*os.File{read}
	err = cmd.Start()
	if closeErr := read.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return errors.Join(explainUserNamespace(err), write.Close())
	}
	err = writeMaps(ctx, cmd.Process.Pid)
	if err == nil {
		_, err = write.Write([]byte{0})
	}
	if err = errors.Join(err, write.Close()); err != nil {
		err = errors.Join(err, ignoreExit(cmd.Wait())) // it saw the pipe's end without the byte
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// mappedMain waits for the maps and starts the program once more: only execve by a user that is root here by then gives
// the namespace's capabilities.
func mappedMain() {
	sync := os.NewFile(syncFD, "sync")
	n, err := sync.Read(make([]byte, 1))
	if n != 1 || err != nil {
		os.Exit(2) // the parent says why
	}
	if err := sync.Close(); err != nil {
		os.Exit(2)
	}
	err = syscall.Exec("/proc/self/exe", os.Args[1:], os.Environ())
	fmt.Fprintf(os.Stderr, "start the program in its user namespace: %v\n", err)
	os.Exit(2)
}

// insideArgs is done first in the user namespace: it ties the program's life to its parent's and gives its arguments.
func insideArgs() []string {
	parent := os.Args[1]
	err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	if err != nil || strconv.Itoa(os.Getppid()) != parent {
		os.Exit(2)
	}
	return os.Args[2:]
}

func explainUserNamespace(err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return failure("start the program in a user namespace", "", err)
	}
	return &SetupError{Call: "clone with a user namespace", Err: errno, Hint: hintUserNamespace(errno)}
}
