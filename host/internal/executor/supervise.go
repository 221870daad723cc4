package executor

import (
	"encoding/gob"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Without a PID namespace nothing ends a step's stray processes but this: the step's parent is a process of its own that
// inherits every orphan among its descendants, kills what is left at the end, and does so too when the builder is gone.

// supervisor is that process, as the builder has it. Its life ends when the builder lets go of hold, with a word if it is no
// more than that, and it says how it has ended: a process of its user can kill it.
type supervisor struct {
	life, hold   *os.File // a pipe
	ended, tells *os.File // another one
	strays       *strays  // those that it would leave behind, where they are the builder's to find
}

// errUnwatched says that nobody watched over a process until its end.
var errUnwatched = errors.New("the builder's process that watches over it was killed, by it or for want of memory")

// supervised turns a step's command into one with a supervisor in between. What it is to hold until its end comes after its
// own descriptors.
func supervised(cmd *exec.Cmd, held ...*os.File) (_ *supervisor, err error) {
	s := &supervisor{}
	if s.life, s.hold, err = os.Pipe(); err != nil {
		return nil, failure("create pipe", "", err)
	}
	if s.ended, s.tells, err = os.Pipe(); err != nil {
		return nil, errors.Join(failure("create pipe", "", err), s.life.Close(), s.hold.Close())
	}
	cmd.Args[0] = argSupervise
	cmd.ExtraFiles = append(cmd.ExtraFiles, s.life, s.tells)
	for _, f := range held {
		if f != nil {
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
	}
	// The kernel's signal would stop the supervisor alone.
	cmd.Cancel = func() error {
		_, err := s.hold.Write([]byte{0})
		return errors.Join(err, s.hold.Close(), cmd.Process.Signal(unix.SIGCONT)) // a process of its user may have stopped it
	}
	return s, nil
}

// verdict is called when the process is gone, and tells how it ended. If it could not say so it was killed, and what it has
// left behind is ended here.
func (s *supervisor) verdict() error {
	if s == nil {
		return nil
	}
	closeErr := s.tells.Close()
	var got report
	if err := gob.NewDecoder(s.ended).Decode(&got); err != nil {
		return errors.Join(failure("watch over the process", "", errUnwatched), s.strays.end(), closeErr)
	}
	if got.Call != "" {
		return errors.Join(got.error(), s.strays.end(), closeErr)
	}
	return closeErr
}

// release lets go of the process.
func (s *supervisor) release() error {
	if s == nil {
		return nil
	}
	errs := []error{s.life.Close(), s.ended.Close(), s.strays.forget()}
	for _, f := range []*os.File{s.hold, s.tells} {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) { // by a cancellation, and by the verdict
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// superviseMain is that process.
func superviseMain() {
	runtime.LockOSThread()
	say := newReporter(os.NewFile(reportFD, "report"))
	status, err := supervise(say)
	if err != nil {
		_ = say.fail(err) // to nobody, if the builder is gone
		os.Exit(1)
	}
	_ = say.ready()
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

// supervise tells by say why the step has not become its command, and thereafter how it ended.
func supervise(say *reporter) (unix.WaitStatus, error) {
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
	saved, err := openHidden(o)
	if err != nil {
		return 0, err
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
	life, tells, veil := os.NewFile(next, "life"), os.NewFile(next+1, "tells"), next+3
	// The builder reads the report to its end to know that the step has become the command.
	if err := unix.Close(reportFD); err != nil {
		return 0, failure("close report", "", err)
	}
	*say = *newReporter(tells)
	w := watchLife(life)
	status, err := reap(step)
	w.over.Store(true)
	switch {
	case saved == nil:
	case w.alone.Load() || os.Getppid() != builder:
		// Nobody else is there to do it; the lock has come with the descriptors.
		err = errors.Join(err, (&inPlace{root: "/", dir: o.Hidden}).recover())
		err = errors.Join(err, liftVeil(os.NewFile(veil, "veil")))
	case err == nil: // nobody is left who could read them
		_ = saveVeil(os.NewFile(veil, "veil"), saved) // in vain, if the builder lives: it has them
	}
	return status, err
}

// openHidden opens the hidden directory of a process in place, before that can put another one there.
func openHidden(o order) (*os.File, error) {
	if o.Hidden == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	dir, err := os.Open(o.Hidden)
	if err != nil {
		return nil, failure("open hidden directory", o.Hidden, err)
	}
	return dir, nil
}

// lifeline is what a supervisor knows of its builder.
type lifeline struct {
	alone atomic.Bool // the builder is gone; that it is no longer the parent may come later
	over  atomic.Bool // there is nothing more to be killed
}

// watchLife kills all children when the builder lets go of its end of the pipe life, until it is over: what is to be done then
// must not wait for it.
func watchLife(life *os.File) *lifeline {
	w := &lifeline{}
	go func() {
		n, _ := life.Read(make([]byte, 1))
		w.alone.Store(n == 0)
		for !w.over.Load() {
			_ = killChildren()
			time.Sleep(time.Millisecond)
		}
	}()
	return w
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
	self := os.Getpid()
	return eachProcess(func(p process) error {
		if p.parent != self {
			return nil
		}
		return kill(p.id)
	})
}

// resetSignals gives every signal its default action back, also those that whoever started the builder had ignored. After
// it this process does nothing but end or execve.
func resetSignals() {
	var action [4]uint64 // struct sigaction as the kernel has it, all zero: SIG_DFL
	for signal := uintptr(1); signal <= 64; signal++ {
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, signal, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
}
