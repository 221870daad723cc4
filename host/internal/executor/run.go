package executor

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Run runs a process in a root file system and returns when it, every process it left behind, and its output are done.
// The error is an *[ExitError] if the command failed, ctx's cause if it was cancelled, a *[SetupError] if the command did not
// start. It may be called from many goroutines, each with an Upper, Work and Merged of its own.
func (l *Launcher) Run(ctx context.Context, root Rootfs, p Process) error {
	errs := []error{root.check(), p.check()}
	for _, m := range p.Mounts {
		if m.Kind == MountLayers {
			errs = append(errs, m.Layers.check())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return l.run(ctx, actionRun, root, p)
}

func (l *Launcher) run(ctx context.Context, what action, root Rootfs, p Process) (err error) {
	w, files, err := p.wire()
	if err != nil {
		return err
	}
	defer also(&err, func() error { return closeAll(files) })
	o := order{Root: root, Process: w, Action: what}
	if p.Proc == ProcAuto {
		o.Process.Proc = ProcFresh
		if l.bound.Load() {
			o.Process.Proc = ProcBound
		}
	}
	err = l.start(ctx, o, p, files)
	if p.Proc == ProcAuto && o.Process.Proc == ProcFresh && freshProcRefused(err) {
		l.bound.Store(true)
		o.Process.Proc = ProcBound
		err = l.start(ctx, o, p, files)
	}
	return err
}

// freshProcRefused recognises the kernel's refusal to show in a fresh /proc what the one outside masks.
func freshProcRefused(err error) bool {
	var setup *SetupError
	return errors.As(err, &setup) && setup.Call == callMountProc && errors.Is(err, unix.EPERM)
}

// start runs one child to its end.
func (l *Launcher) start(ctx context.Context, o order, p Process, files []*os.File) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	self, err := l.executableFor(o)
	if err != nil {
		return err
	}
	record, err := l.recorder(o, p)
	if err != nil {
		return err
	}
	defer also(&err, record.close)
	files = record.join(&o.Process, files)
	spec, err := writeOrder(o)
	if err != nil {
		return err
	}
	defer also(&err, spec.Close)
	answer, answerW, err := os.Pipe()
	if err != nil {
		return failure("create pipe", "", err)
	}
	defer also(&err, answer.Close)
	out, err := openOutput(p.Stdout, p.Stderr)
	if err != nil {
		return errors.Join(err, answerW.Close())
	}
	// The parent death signal is sent when the parent's thread ends, so the child's parent must live as long as it does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := stepCommand(ctx, out, append([]*os.File{self, spec, answerW}, files...))
	watcher, err := isolate(cmd, o)
	if err != nil {
		return errors.Join(err, answerW.Close(), out.abandon())
	}
	defer also(&err, watcher.release)
	err = cmd.Start()
	closeErr := answerW.Close()
	if err != nil {
		return errors.Join(explainStart(err), out.abandon())
	}
	out.copy()
	recordErr := record.start(cmd.Process.Pid)
	setupErr := receiveReport(answer)
	waitErr := cmd.Wait()
	watchErr := watcher.verdict() // before the output, which those who are left would keep open
	outErr := errors.Join(out.wait(), recordErr, record.wait())
	switch {
	case errors.Is(watchErr, errStrays):
		return watchErr
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case setupErr != nil:
		return setupErr
	case watchErr != nil:
		return watchErr
	}
	return errors.Join(exitError(waitErr), outErr, closeErr)
}

// also does a clean-up whose failure is told beside what err says already.
func also(err *error, cleanUp func() error) {
	if cleanErr := cleanUp(); cleanErr != nil {
		*err = errors.Join(*err, cleanErr)
	}
}

// stepCommand starts the file by the number that it has in the child: by then others have taken the builder's numbers.
func stepCommand(ctx context.Context, out *output, files []*os.File) *exec.Cmd {
	cmd := exec.CommandContext(ctx, descriptorPath(selfFD))
	cmd.Args = []string{argStep}
	// What starts the child's runtime fastest; the command gets Process.Env.
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=containermaxprocs=0"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out.stdoutW, out.stderrW
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// isolate gives a step its namespaces, or a supervisor that does.
func isolate(cmd *exec.Cmd, o order) (*supervisor, error) {
	if o.Process.Proc != ProcBound {
		cmd.SysProcAttr.Cloneflags = cloneFlags(o)
		return nil, nil //nolint:nilnil // it needs none
	}
	s, err := supervised(cmd, o.lock, o.veil)
	if err == nil && o.Hidden != "" {
		if s.strays, err = expectStrays(); err != nil {
			err = errors.Join(err, s.release())
		}
		cmd.WaitDelay = stopPatience
	}
	return s, err
}

func cloneFlags(o order) uintptr {
	if o.Chroot != "" || o.Hidden != "" {
		return 0
	}
	p := o.Process
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if p.Proc != ProcBound {
		flags |= unix.CLONE_NEWPID
	}
	if p.Network == NetworkNone {
		flags |= unix.CLONE_NEWNET
	}
	return flags
}

// explainStart tells the kernel's refusal of the child from what failed before, as opening /dev/null for its standard input.
func explainStart(err error) error {
	var start *os.PathError
	var errno syscall.Errno
	if !errors.As(err, &start) || start.Op != "fork/exec" || !errors.As(err, &errno) {
		return failure("start the process", "", err)
	}
	setup := &SetupError{Call: "clone with new namespaces", Err: errno}
	if errno == unix.EPERM {
		setup.Hint = hintPrivilege
	}
	return setup
}

func exitError(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return &ExitError{Code: 128 + int(status.Signal()), Signal: int(status.Signal())}
	}
	return &ExitError{Code: exit.ExitCode()}
}
