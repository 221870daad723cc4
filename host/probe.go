package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/trowel-build/trowel/host/internal/executor"
)

// ProbeRequest says what is to be found out.
type ProbeRequest struct {
	// WorkDir is where builds work, as in [Request].
	WorkDir string
	// Isolation and MinIsolation are those of [Request].
	Isolation, MinIsolation string
}

// ProbeReport is what a machine permits.
type ProbeReport struct {
	// Attempts are what was tried, best first.
	Attempts []ProbeAttempt
	// Chosen says how RUN is isolated here; empty if it cannot work as wanted.
	Chosen string
}

// ProbeAttempt is one thing tried.
type ProbeAttempt struct {
	Name string
	Err  error  // nil if it worked
	Hint string // what would make it work, where that is known
}

// Probe finds out by doing how the processes of RUN can be isolated on this machine: it tries every way, and tells which
// one a build would take.
func Probe(ctx context.Context, l *Launcher, q ProbeRequest) (_ ProbeReport, err error) {
	r := Request{Isolation: q.Isolation, MinIsolation: q.MinIsolation}
	if err := r.checkIsolation(); err != nil {
		return ProbeReport{}, &RequestError{err}
	}
	work, err := openWorkDir(q.WorkDir)
	if err != nil {
		return ProbeReport{}, err
	}
	defer func() { err = errors.Join(err, work.close()) }()
	found, err := l.Probe(ctx, work.trees)
	if err != nil {
		return ProbeReport{}, err
	}
	var report ProbeReport
	works := map[string]string{} // what is to be said of a way that works
	for _, a := range found.Attempts {
		report.add(probeName(a.Rung, a.Proc), a.Err)
	}
	if found.Rung != executor.RungNone {
		works[IsolationNamespaces] = fmt.Sprintf("%s, %d user IDs", probeName(found.Rung, found.Proc), found.IDs)
	}
	for _, name := range []string{IsolationInPlace, IsolationSupervised, IsolationChroot} {
		err := r.probePlain(ctx, l, name, work.trees)
		if ctx.Err() != nil {
			return ProbeReport{}, context.Cause(ctx)
		}
		if report.add(name, err); err == nil {
			works[name] = name
		}
	}
	for _, name := range r.rungs() {
		if works[name] != "" {
			report.Chosen = works[name]
			break
		}
	}
	return report, nil
}

func (r *ProbeReport) add(name string, err error) {
	x := ProbeAttempt{Name: name, Err: err}
	if setup, ok := errors.AsType[*executor.SetupError](err); ok {
		x.Hint = setup.Hint
	}
	r.Attempts = append(r.Attempts, x)
}

// probePlain tries a way whose root file system is a plain directory.
func (r *Request) probePlain(ctx context.Context, l *Launcher, name, dir string) error {
	if name != IsolationInPlace {
		return l.ProbePlain(ctx, executor.Rung(name), dir)
	}
	who, _ := consent(r.Isolation, r.OverwriteRoot)
	if err := executor.Disposable(who); err != nil {
		return err
	}
	return executor.CheckInPlace(dir)
}

func probeName(rung executor.Rung, proc executor.Proc) string {
	name := "namespaces"
	if rung == executor.RungUserNamespace {
		name = "namespaces in a user namespace"
	}
	if proc == executor.ProcBound {
		return name + ", the builder's own /proc"
	}
	return name + ", a fresh /proc"
}
