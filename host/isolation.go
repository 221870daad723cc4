package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// The values of [Request.Isolation].
const (
	IsolationAuto       = "auto" // the best that can be had: namespaces, then inplace where it was agreed to, then chroot
	IsolationNamespaces = "namespaces"
	IsolationInPlace    = string(executor.RungInPlace)
	IsolationSupervised = string(executor.RungSupervised)
	IsolationChroot     = string(executor.RungChroot)
)

// Isolations are the values of [Request.Isolation].
func Isolations() []string {
	return []string{IsolationAuto, IsolationNamespaces, IsolationInPlace, IsolationSupervised, IsolationChroot}
}

// strengths are the ways to isolate, weakest first.
func strengths() []string {
	return []string{IsolationInPlace, IsolationChroot, IsolationSupervised, IsolationNamespaces}
}

// MinIsolations are the values of [Request.MinIsolation], weakest first.
func MinIsolations() []string { return strengths() }

func (r *Request) checkIsolation() error {
	if r.Isolation != "" && !slices.Contains(Isolations(), r.Isolation) {
		return fmt.Errorf("isolation %q: want %s", r.Isolation, strings.Join(Isolations(), ", "))
	}
	if r.MinIsolation != "" && !slices.Contains(MinIsolations(), r.MinIsolation) {
		return fmt.Errorf("least isolation %q: want %s", r.MinIsolation, strings.Join(MinIsolations(), ", "))
	}
	if r.named() && !r.strongEnough(r.Isolation) {
		return fmt.Errorf("isolation %q is weaker than the least isolation %q", r.Isolation, r.MinIsolation)
	}
	return nil
}

// named says whether the user has named one way.
func (r *Request) named() bool { return r.Isolation != "" && r.Isolation != IsolationAuto }

// strongEnough says whether a way to isolate is at least what the user wants.
func (r *Request) strongEnough(name string) bool {
	return slices.Index(strengths(), name) >= slices.Index(strengths(), r.MinIsolation)
}

// chrootNotice says what the weakest rung costs.
const chrootNotice = "RUN is isolated by chroot, without a /proc of its own: java, go, rust, process substitution <( ) and ps fail, and sudo for a USER; " +
	"trowel doctor tells what this machine permits"

// permit finds out how the processes of the build can be isolated here. What the user named is what they get, or nothing;
// only [IsolationAuto] goes from one rung to the next. That nothing can be had is told when a process has to run.
func (b *build) permit(ctx context.Context) (stage.Isolation, error) {
	var tried []error
	for _, rung := range b.rungs() {
		failed, err := b.try(ctx, rung)
		if err != nil {
			return stage.Isolation{}, err
		}
		if failed == nil {
			return b.isolated(rung, tried), nil
		}
		tried = append(tried, failed...)
	}
	why := errors.Join(tried...)
	if b.MinIsolation != "" {
		why = fmt.Errorf("with isolation of at least %q: %w", b.MinIsolation, why)
	}
	return stage.Isolation{CannotRun: &Error{
		fmt.Errorf("run processes here: %w", why),
		"trowel doctor tells what this machine permits; a Dockerfile without RUN builds anywhere",
	}}, nil
}

// isolated is what the stages have to know of the way that was taken.
func (b *build) isolated(rung string, tried []error) stage.Isolation {
	i := stage.Isolation{Chosen: chosen(b.Isolation, rung, tried)}
	if rung == IsolationNamespaces {
		return i
	}
	switch i.Rung = executor.Rung(rung); i.Rung {
	case executor.RungInPlace:
		i.Notice, i.Root = inPlaceNotice, executor.Plain{Keep: b.Keep, Veil: b.veiled()}
	case executor.RungChroot:
		i.Notice = chrootNotice
	}
	return i
}

// rungs are those that may be tried, in order. Who names supervised as the least has named it.
func (r *Request) rungs() []string {
	if r.named() {
		return []string{r.Isolation}
	}
	all := []string{IsolationNamespaces, IsolationInPlace, IsolationChroot}
	if r.MinIsolation == IsolationSupervised {
		all = []string{IsolationNamespaces, IsolationSupervised}
	}
	return slices.DeleteFunc(all, func(name string) bool { return !r.strongEnough(name) })
}

// chosen tells how RUN is isolated and why so.
func chosen(wanted, rung string, tried []error) string {
	text := "RUN is isolated by " + rung
	switch {
	case wanted == rung:
		return text + ", as asked for"
	case len(tried) == 0:
		return text
	}
	var why []string
	for _, err := range tried {
		reason := err.Error()
		if setup, ok := errors.AsType[*executor.SetupError](err); ok && setup.Hint != "" {
			reason += " (" + setup.Hint + ")"
		}
		why = append(why, reason)
	}
	return text + ", since what is better cannot be had: " + strings.Join(why, "; ")
}

// try tries one way to isolate. failed says what did not work.
func (b *build) try(ctx context.Context, name string) (failed []error, err error) {
	rung := executor.Rung(name)
	if name == IsolationNamespaces {
		return b.tryNamespaces(ctx)
	}
	if name == IsolationInPlace {
		err = b.tryInPlace(ctx)
	} else {
		err = b.Launcher.ProbePlain(ctx, rung, b.work.trees)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return []error{fmt.Errorf("%s: %w", rung, err)}, nil
	}
	return nil, nil
}

// tryNamespaces is try for the one way that needs a look at the program's own user namespace.
func (b *build) tryNamespaces(ctx context.Context) (failed []error, err error) {
	ns, err := b.Launcher.UserNamespace()
	if err != nil || ns.Own || mayMount() && !onOverlay(b.work.trees) {
		return nil, err
	}
	report, err := b.Launcher.Probe(ctx, b.work.trees)
	if err != nil {
		return nil, err
	}
	switch report.Rung {
	case executor.RungNamespaces:
		return nil, nil
	case executor.RungUserNamespace:
		return nil, ErrNeedsUserNamespace
	}
	for _, a := range report.Attempts {
		failed = append(failed, fmt.Errorf("%s: %w", a.Rung, a.Err))
	}
	return failed, nil
}

// onOverlay says whether a directory lies on an overlay, as all that a container's image and no volume has does: another
// overlay cannot be written there.
func onOverlay(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC
}

// mayMount says whether the process has CAP_SYS_ADMIN, and with it all that running a process takes on most file systems.
func mayMount() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}
