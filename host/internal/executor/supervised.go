package executor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The rung supervised is the rung chroot with a /proc: a process of ours, the server, answers those of the step's system
// calls whose paths lead there. Four processes, each the parent of the next:
//
//	builder
//	supervisor     kills all that is left when the server ends, however it does: see supervise.go
//	server         has the real /proc, and is in the chroot too
//	the command    and its descendants, of which the server inherits the orphans
//
// That the server is their ancestor is what lets it read their memory where Yama restricts that. See package procview for
// what is served.

// Lines that the server tells the builder.
const (
	tellNote    = "note "
	tellFailure = "fail "
	tellDone    = "done" // the command has ended, and the server's exit code is the command's
)

// errServerEnded says that nobody answered the step's system calls any more.
var errServerEnded = errors.New("the process that serves /proc has ended")

// runSupervised is [Launcher.RunPlain] in [RungSupervised].
func (l *Launcher) runSupervised(ctx context.Context, root Plain, p Process) ([]Shift, error) {
	return l.supervisedIn(ctx, actionRun, root, p)
}

func (l *Launcher) supervisedIn(ctx context.Context, what action, root Plain, p Process) (_ []Shift, err error) {
	if err := errors.Join(supervisedOffers(p), chrootOffers(p)); err != nil {
		return nil, err
	}
	dir, aside, err := openPlain(root.Dir, root.Aside)
	if err != nil {
		return nil, err
	}
	defer also(&err, func() error { return errors.Join(dir.Close(), aside.Close()) })
	if what == actionRun && p.Notice != nil {
		l.missing.Do(func() { noticeMissing(p.Notice) })
	}
	kernel, err := layKernel(int(dir.Fd()), int(aside.Fd()))
	defer also(&err, kernel.remove)
	if err != nil {
		return nil, err
	}
	seen := p
	seen.Mounts = withPlaces(p.Mounts)
	laid, err := lay(ctx, dir, aside, seen)
	if err != nil {
		return nil, err
	}
	err = l.startSupervised(ctx, order{Chroot: root.Dir, Served: true, Action: what}, p)
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
	// At 1 a process may look into its descendants, which is enough.
	if scope := setting("/proc/sys/kernel/yama/ptrace_scope"); scope == "2" || scope == "3" {
		return &SetupError{
			Call: "serve /proc", Err: errors.New("this machine lets no process look into another"),
			Hint: "sysctl kernel.yama.ptrace_scope=1, or choose another --isolation",
		}
	}
	if p.Dir == "/proc" || strings.HasPrefix(p.Dir, "/proc/") {
		return failure("enter working directory", p.Dir, errors.New("it lies in /proc"))
	}
	return nil
}

// noticeMissing names what this kernel does not have of what holds a step.
func noticeMissing(notice func(string)) {
	version, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch {
	case errno != 0 || version < 2:
		notice("this machine has no Landlock that could hold RUN (Linux 5.19 has): the chroot alone keeps it in its root directory, and a RUN of root's can signal the builder")
	case version < landlockScopes:
		notice("this machine's Landlock (Linux 6.12 has a later one) cannot keep a RUN of root's from signalling the builder")
	}
}

// withPlaces has no secrets, which the server gives from memory to who opens them, but their places.
func withPlaces(mounts []Mount) []Mount {
	mounts = slices.Clone(mounts)
	for i := range mounts {
		if m := &mounts[i]; m.Kind == MountSecret {
			*m = Mount{Kind: mountPlace, Target: m.Target}
		}
	}
	return mounts
}

// startSupervised starts the supervisor and waits for it.
func (l *Launcher) startSupervised(ctx context.Context, o order, p Process) (err error) {
	secrets := slices.DeleteFunc(slices.Clone(p.Mounts), func(m Mount) bool { return m.Kind != MountSecret })
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
	closeErr := tell.Close()
	told := <-listening
	if _, early := errors.AsType[*SetupError](err); told != nil && !early && ctx.Err() == nil {
		err = told // the command's end is a consequence
	}
	return errors.Join(err, closeErr)
}

// listenTo passes notes on until every writer is gone. It returns a failure that it was told, or that nobody said that the
// command has ended.
func listenTo(heard *os.File, notice func(string)) error {
	failed := failure("supervise the process", "", errServerEnded)
	lines := bufio.NewScanner(heard)
	for lines.Scan() {
		line := lines.Text()
		if text, ok := strings.CutPrefix(line, tellNote); ok && notice != nil {
			notice(text)
		}
		if text, ok := strings.CutPrefix(line, tellFailure); ok {
			failed = failure("supervise the process", "", errors.New(text))
		}
		if line == tellDone {
			failed = nil
		}
	}
	return errors.Join(failed, lines.Err(), heard.Close())
}

func tellLine(to *os.File, kind, text string) {
	_, _ = fmt.Fprintln(to, kind+strings.ReplaceAll(text, "\n", " ")) // to nobody, if the builder is gone
}
