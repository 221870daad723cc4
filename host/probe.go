package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/trowel-build/trowel/host/internal/executor"
)

// ProbeReport is what a machine permits.
type ProbeReport struct {
	// Attempts are what was tried, in order.
	Attempts []ProbeAttempt
	// Chosen says how RUN is isolated here; empty if it cannot work.
	Chosen string
}

// ProbeAttempt is one thing tried.
type ProbeAttempt struct {
	Name string
	Err  error  // nil if it worked
	Hint string // what would make it work, where that is known
}

// Probe finds out by doing how the processes of RUN can be isolated on this machine. workDir is where builds work; empty
// means as in [Request].
func Probe(ctx context.Context, l *Launcher, workDir string) (_ ProbeReport, err error) {
	work, err := openWorkDir(workDir)
	if err != nil {
		return ProbeReport{}, err
	}
	defer func() { err = errors.Join(err, work.close()) }()
	found, err := l.Probe(ctx, work.trees)
	if err != nil {
		return ProbeReport{}, err
	}
	var r ProbeReport
	for _, a := range found.Attempts {
		x := ProbeAttempt{Name: probeName(a.Rung, a.Proc), Err: a.Err}
		if setup, ok := errors.AsType[*executor.SetupError](a.Err); ok {
			x.Hint = setup.Hint
		}
		r.Attempts = append(r.Attempts, x)
	}
	if found.Rung != executor.RungNone {
		r.Chosen = fmt.Sprintf("%s, %d user IDs", probeName(found.Rung, found.Proc), found.IDs)
	}
	return r, nil
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
