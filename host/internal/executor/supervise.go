package executor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Without a PID namespace nothing ends a step's stray processes but this: the step's parent is a process of its own that
// inherits every orphan among its descendants, kills what is left at the end, and does so too when the builder is gone.

// supervised turns a step's command into one with a supervisor in between. The supervisor lives until release is called.
// What it is to hold for as long comes after its own descriptors.
func supervised(cmd *exec.Cmd, held ...*os.File) (release func() error, err error) {
	life, hold, err := os.Pipe()
	if err != nil {
		return nil, failure("create pipe", "", err)
	}
	cmd.Args[0] = argSupervise
	cmd.ExtraFiles = append(cmd.ExtraFiles, life)
	for _, f := range held {
		if f != nil {
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
	}
	// The kernel's signal would stop the supervisor alone.
	cmd.Cancel = hold.Close
	return func() error {
		err := hold.Close()
		if errors.Is(err, os.ErrClosed) {
			err = nil // by a cancellation
		}
		return errors.Join(err, life.Close())
	}, nil
}

// superviseMain is that process.
func superviseMain() {
	runtime.LockOSThread()
	say := newReporter(os.NewFile(reportFD, "report"))
	status, err := supervise()
	if err != nil {
		_ = say.fail(err) // to nobody, if the builder is gone
		os.Exit(1)
	}
	endAs(status)
}

// endAs ends this process as another ended.
func endAs(status unix.WaitStatus) {
	if status.Signaled() {
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
		resetSignals()
		_ = unix.Kill(os.Getpid(), status.Signal())
	}
	os.Exit(status.ExitStatus())
}

func supervise() (unix.WaitStatus, error) {
	if err := Harden(); err != nil {
		return 0, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, failure("inherit orphans", "", err)
	}
	if err := closeOnExec(); err != nil {
		return 0, err
	}
	o, err := peekOrder()
	if err != nil {
		return 0, err
	}
	builder := os.Getppid()
	files := []uintptr{0, 1, 2, selfFD, specFD, reportFD}
	next := uintptr(filesFD)
	for _, m := range o.Process.Mounts {
		if m.FD != 0 {
			files = append(files, next)
			next++
		}
	}
	if o.Process.Recorder != 0 {
		files = append(files, next)
		next++
	}
	name := argStep
	if o.Served {
		name = argServe // which starts the step
		files = append(files, next)
		next++
	}
	step, err := syscall.ForkExec(descriptorPath(selfFD), []string{name}, &syscall.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: cloneFlags(o)},
	})
	if err != nil {
		return 0, explainStart(err)
	}
	if err := letGo(o.Process.Recorder); err != nil {
		return 0, err
	}
	if err := killWhenAlone(next); err != nil {
		return 0, err
	}
	status, err := reap(step)
	if o.Hidden != "" && os.Getppid() != builder {
		// Nobody else is there to do it; the lock has come with the descriptors.
		err = errors.Join(err, (&inPlace{root: "/", dir: o.Hidden}).recover())
		err = errors.Join(err, liftVeil(os.NewFile(next+2, "veil")))
	}
	return status, err
}

// killWhenAlone lets go of the report, which the builder reads to its end to know that the step has become the command, and
// kills all children when the builder lets go of its end of the pipe life.
func killWhenAlone(life uintptr) error {
	held := os.NewFile(life, "life")
	if err := unix.Close(reportFD); err != nil {
		return failure("close report", "", err)
	}
	go func() {
		_, _ = held.Read(make([]byte, 1))
		for {
			_ = killChildren()
		}
	}()
	return nil
}

// peekOrder reads the order and leaves it for the step to be read again.
func peekOrder() (order, error) {
	fd, err := unix.FcntlInt(specFD, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return order{}, failure("read the order", "", err)
	}
	o, err := decodeOrder(os.NewFile(uintptr(fd), "order"))
	if err != nil {
		return o, err
	}
	if _, err := unix.Seek(specFD, 0, 0); err != nil {
		return o, failure("read the order", "", err)
	}
	return o, nil
}

// reap waits for the step and for every orphan, then kills what is left until nothing is.
func reap(step int) (unix.WaitStatus, error) {
	var result unix.WaitStatus
	for ended := false; ; {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return result, nil
		case err != nil:
			return result, failure("wait for processes", "", err)
		}
		if pid == step {
			result, ended = status, true
		}
		if ended {
			if err := killChildren(); err != nil {
				return result, err
			}
		}
	}
}

// killChildren kills this process's children, whose own children it thereby inherits.
func killChildren() error {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return failure("list processes", "", err)
	}
	self := os.Getpid()
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		if parent, ok := parentOf(pid); ok && parent == self {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return failure("kill process", fmt.Sprint(pid), err)
			}
		}
	}
	return nil
}

// parentOf reads the second field after the command's name, which may hold anything but ends at the last parenthesis.
func parentOf(pid int) (int, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return parent, err == nil
}

// resetSignals gives every signal its default action back, also those that whoever started the builder had ignored. After
// it this process does nothing but end or execve.
func resetSignals() {
	var action [4]uint64 // struct sigaction as the kernel has it, all zero: SIG_DFL
	for signal := uintptr(1); signal <= 64; signal++ {
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, signal, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
}
