package executor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The rung supervised is the rung chroot with a /proc: a process of ours, the server, answers those of the step's system
// calls whose paths lead there. Between them and the builder is the supervisor of supervise.go. Four processes:
//
//	builder ── supervisor, inherits orphans, kills all when either of the next two ends
//	           ├── server, has the real /proc, is in the chroot too
//	           └── the command, and its descendants
//
// See package procview for what is served.

// Lines that the server and the supervisor tell the builder.
const (
	tellNote    = "note "
	tellFailure = "fail "
)

// runSupervised is [Launcher.RunPlain] in [RungSupervised].
func (l *Launcher) runSupervised(ctx context.Context, root Plain, p Process) ([]Shift, error) {
	return l.supervisedIn(ctx, actionRun, root, p)
}

func (l *Launcher) supervisedIn(ctx context.Context, what action, root Plain, p Process) (_ []Shift, err error) {
	if err := errors.Join(supervisedOffers(p), chrootOffers(p)); err != nil {
		return nil, err
	}
	dir, err := os.Open(root.Dir)
	if err != nil {
		return nil, failure("open root file system", root.Dir, err)
	}
	defer also(&err, dir.Close)
	aside, err := os.Open(root.Aside)
	if err != nil {
		return nil, failure("open directory", root.Aside, err)
	}
	defer also(&err, aside.Close)
	kernel, err := layKernel(int(dir.Fd()), int(aside.Fd()))
	defer also(&err, kernel.remove)
	if err != nil {
		return nil, err
	}
	seen := p
	var secrets []Mount
	seen.Mounts, secrets = splitSecrets(p.Mounts)
	laid, err := lay(ctx, dir, aside, seen)
	if err != nil {
		return nil, err
	}
	err = l.startSupervised(ctx, order{Chroot: root.Dir, Served: true, Action: what}, p, secrets)
	shifts, removeErr := laid.remove()
	return shifts, errors.Join(err, removeErr)
}

// supervisedOffers refuses what this rung cannot give.
func supervisedOffers(p Process) error {
	if runtime.GOARCH != "amd64" {
		return &SetupError{
			Call: "serve /proc", Err: fmt.Errorf("isolation \"supervised\" is for amd64, and this is %s", runtime.GOARCH),
			Hint: "choose another --isolation",
		}
	}
	if p.Dir == "/proc" || strings.HasPrefix(p.Dir, "/proc/") {
		return failure("enter working directory", p.Dir, errors.New("it lies in /proc"))
	}
	return nil
}

// splitSecrets takes out the secrets: the server gives them, from memory, to who opens them.
func splitSecrets(mounts []Mount) (laid, served []Mount) {
	for _, m := range mounts {
		if m.Kind == MountSecret {
			served = append(served, m)
		} else {
			laid = append(laid, m)
		}
	}
	return laid, served
}

// startSupervised starts the supervisor and waits for it.
func (l *Launcher) startSupervised(ctx context.Context, o order, p Process, secrets []Mount) (err error) {
	p.Mounts, p.ResolvConf, p.Hosts, p.Hostname = nil, nil, nil, "" // laid, or not to be had
	var files []*os.File
	if o.Process, files, err = p.wire(); err != nil {
		return err
	}
	defer also(&err, func() error { return closeAll(files) })
	for _, m := range secrets {
		o.Process.Mounts = append(o.Process.Mounts, wireMount{Kind: m.Kind, Target: m.Target, Content: m.Content, Mode: m.Mode, UID: m.UID, GID: m.GID})
	}
	o.Process.Proc = ProcBound // the builder's process IDs: the supervisor kills what is left behind
	heard, tell, err := os.Pipe()
	if err != nil {
		return failure("create pipe", "", err)
	}
	listening := make(chan error, 1)
	go func() { listening <- listenTo(heard, p.Notice) }()
	err = l.start(ctx, o, p, []*os.File{tell})
	err = errors.Join(err, tell.Close())
	told := <-listening
	if _, early := errors.AsType[*SetupError](err); told != nil && !early && ctx.Err() == nil {
		err = told // the command's end is a consequence
	}
	return err
}

// listenTo passes notes on until every writer is gone. It returns a failure that it was told.
func listenTo(heard *os.File, notice func(string)) error {
	var failed error
	lines := bufio.NewScanner(heard)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), tellNote); ok && notice != nil {
			notice(text)
		}
		if text, ok := strings.CutPrefix(lines.Text(), tellFailure); ok && failed == nil {
			failed = failure("supervise the process", "", errors.New(text))
		}
	}
	return errors.Join(failed, lines.Err(), heard.Close())
}

func tellLine(to *os.File, kind, text string) {
	_, _ = fmt.Fprintln(to, kind+strings.ReplaceAll(text, "\n", " ")) // to nobody, if the builder is gone
}

// superviseServed starts the server and the step, with a socket between them.
func superviseServed() (unix.WaitStatus, error) {
	const toldFD, lifeFD = filesFD, filesFD + 1
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, failure("create sockets", "", err)
	}
	// The server has no part in the step's output but what it says when it crashes.
	server, err := forkSelf(argServe, 0, 0, 2, selfFD, specFD, 0, uintptr(pair[0]), toldFD)
	if err != nil {
		return 0, err
	}
	step, err := forkSelf(argStep, 0, 1, 2, selfFD, specFD, reportFD, uintptr(pair[1]))
	if err != nil {
		return 0, err
	}
	if err := errors.Join(unix.Close(pair[0]), unix.Close(pair[1]), killWhenAlone(lifeFD)); err != nil {
		return 0, failure("close sockets", "", err)
	}
	status, err := reap(step, server)
	if err != nil {
		tellLine(os.NewFile(toldFD, "told"), tellFailure, err.Error())
	}
	return status, nil
}

// forkSelf starts this program once more.
func forkSelf(name string, files ...uintptr) (int, error) {
	pid, err := syscall.ForkExec(descriptorPath(selfFD), []string{name}, &syscall.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, explainStart(err)
	}
	return pid, nil
}
