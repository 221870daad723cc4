package executor

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Rung is a way to start a step.
type Rung string

// The rungs of this package.
const (
	RungNone          Rung = ""               // no namespaces can be had
	RungNamespaces    Rung = "namespaces"     // as the program is
	RungUserNamespace Rung = "user namespace" // after [Launcher.EnterUserNamespace]
)

// Report is what a machine permits.
type Report struct {
	Rung Rung
	Proc Proc   // the kind of /proc that a step gets
	IDs  uint64 // how many users a step can be
	// Attempts are all that was tried, in order; the last one without Err decided.
	Attempts []Attempt
}

// Attempt is one thing tried.
type Attempt struct {
	Rung Rung
	Proc Proc
	Err  error // nil if it worked; mostly a *[SetupError], with a hint
}

// Probes is how often anything was tried to learn what the machine permits.
func (l *Launcher) Probes() int64 { return l.probes.Load() }

// Probe finds what this machine permits by doing all of a step but the command, on layers that it makes in dir and
// removes. It takes as long as the steps it tries.
func (l *Launcher) Probe(ctx context.Context, dir string) (Report, error) {
	l.probes.Add(1)
	var r Report
	if err := l.attempt(ctx, dir, RungNamespaces, &r); err != nil || r.Rung != RungNone {
		return r, err
	}
	inner, err := l.probeInside(ctx, dir)
	if err != nil {
		var setup *SetupError
		if !errors.As(err, &setup) {
			return r, err
		}
		r.Attempts = append(r.Attempts, Attempt{Rung: RungUserNamespace, Proc: ProcFresh, Err: err})
		return r, nil
	}
	r.Rung, r.Proc, r.IDs = inner.Rung, inner.Proc, inner.IDs
	r.Attempts = append(r.Attempts, inner.Attempts...)
	return r, nil
}

// attempt tries a step with either kind of /proc. The error is one of the probe itself.
func (l *Launcher) attempt(ctx context.Context, dir string, rung Rung, r *Report) error {
	ns, err := l.UserNamespace()
	if err != nil {
		return err
	}
	for _, proc := range []Proc{ProcFresh, ProcBound} {
		err := l.tryStep(ctx, dir, proc)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.Attempts = append(r.Attempts, Attempt{Rung: rung, Proc: proc, Err: err})
		if err == nil {
			r.Rung, r.Proc, r.IDs = rung, proc, ns.IDs
			return nil
		}
		if !freshProcRefused(err) {
			return nil
		}
	}
	return nil
}

// tryStep does a step without a command.
func (l *Launcher) tryStep(ctx context.Context, dir string, proc Proc) (err error) {
	root, remove, err := probeRootfs(dir)
	if err != nil {
		return err
	}
	defer also(&err, remove)
	return l.run(ctx, actionProbe, root, Process{Dir: "/", Proc: proc})
}

// probeRootfs makes a root file system without files.
func probeRootfs(dir string) (_ Rootfs, remove func() error, err error) {
	tmp, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return Rootfs{}, nil, failure("make directory to probe in", dir, err)
	}
	remove = func() error { return os.RemoveAll(tmp) }
	for _, d := range []string{"layers/top", "layers/base/proc", "layers/base/dev", "layers/base/sys", "upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(tmp, d), 0o755); err != nil {
			return Rootfs{}, nil, errors.Join(failure("make directory to probe in", tmp, err), remove())
		}
	}
	return Rootfs{
		Lowers: []string{"top", "base"}, LayersDir: filepath.Join(tmp, "layers"),
		Upper: filepath.Join(tmp, "upper"), Work: filepath.Join(tmp, "work"), Merged: filepath.Join(tmp, "merged"),
	}, remove, nil
}

// ProbePlain tries a rung whose root file system is a plain directory, by doing all of a step but the command in a directory
// that it makes in dir and removes. The error, mostly a *[SetupError], says why it cannot be.
func (l *Launcher) ProbePlain(ctx context.Context, rung Rung, dir string) (err error) {
	l.probes.Add(1)
	root, remove, err := probePlain(dir)
	if err != nil {
		return err
	}
	defer also(&err, remove)
	switch rung {
	case RungChroot:
		_, err = l.inChroot(ctx, actionProbe, root, Process{Dir: "/"})
		return err
	case RungSupervised:
		_, err = l.supervisedIn(ctx, actionProbe, root, Process{Dir: "/"})
		return err
	}
	return fmt.Errorf("rung %q cannot be tried", rung)
}

// probePlain makes an empty plain directory.
func probePlain(dir string) (_ Plain, remove func() error, err error) {
	tmp, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return Plain{}, nil, failure("make directory to probe in", dir, err)
	}
	p := Plain{Dir: filepath.Join(tmp, "root"), Aside: filepath.Join(tmp, "aside")}
	if err := errors.Join(os.Mkdir(p.Dir, 0o755), os.Mkdir(p.Aside, 0o755)); err != nil {
		return Plain{}, nil, errors.Join(failure("make directory to probe in", tmp, err), os.RemoveAll(tmp))
	}
	return p, func() error { return os.RemoveAll(tmp) }, nil
}

// probeInside lets this program probe in a user namespace.
func (l *Launcher) probeInside(ctx context.Context, dir string) (Report, error) {
	var stdout, stderr bytes.Buffer
	cmd := mappedCommand(ctx, []string{argProbe, dir})
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = []string{}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := startMapped(ctx, cmd); err != nil {
		return Report{}, err
	}
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return Report{}, context.Cause(ctx)
		}
		return Report{}, failure("probe in a user namespace", "", fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes())))
	}
	var wire wireReport
	if err := gob.NewDecoder(&stdout).Decode(&wire); err != nil {
		return Report{}, failure("read the probe's report", "", err)
	}
	return wire.open(), nil
}

// probeMain is the probe in the user namespace. If it is cancelled it ends its step and removes its directory first: whoever
// cancels it removes what that lies in, once it has ended.
func probeMain(l *Launcher) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	var r Report
	err := l.attempt(ctx, os.Args[1], RungUserNamespace, &r)
	if err == nil {
		err = gob.NewEncoder(os.Stdout).Encode(closeReport(r))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// wireReport is a Report between two runs of the program.
type wireReport struct {
	Rung     Rung
	Proc     Proc
	IDs      uint64
	Attempts []wireAttempt
}

type wireAttempt struct {
	Rung   Rung
	Proc   Proc
	Failed bool
	Err    report
}

func closeReport(r Report) wireReport {
	w := wireReport{Rung: r.Rung, Proc: r.Proc, IDs: r.IDs}
	for _, a := range r.Attempts {
		wa := wireAttempt{Rung: a.Rung, Proc: a.Proc, Failed: a.Err != nil}
		if wa.Failed {
			wa.Err = reportOf(a.Err)
		}
		w.Attempts = append(w.Attempts, wa)
	}
	return w
}

func (w wireReport) open() Report {
	r := Report{Rung: w.Rung, Proc: w.Proc, IDs: w.IDs}
	for _, a := range w.Attempts {
		attempt := Attempt{Rung: a.Rung, Proc: a.Proc}
		if a.Failed {
			attempt.Err = a.Err.error()
		}
		r.Attempts = append(r.Attempts, attempt)
	}
	return r
}
