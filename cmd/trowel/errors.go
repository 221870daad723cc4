package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/trowel-build/trowel/host"
)

// exitStatus is an exit code of which all has been said: that of a process that did the work in this one's stead, say.
type exitStatus int

// Error says what the code is.
func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// failedRun is a build that failed because a RUN did, where the exit code of that is passed on.
type failedRun struct {
	error
	code int
}

// Unwrap returns the cause.
func (f failedRun) Unwrap() error { return f.error }

// hinted is an error with what the user can do about it.
type hinted struct {
	error
	hint string
}

// Unwrap returns the cause.
func (h hinted) Unwrap() error { return h.error }

// printError writes an error as all of Trowel's are: one line, the Dockerfile's lines beneath where there are any, and a
// hint where the user can act.
func (p program) printError(ctx context.Context, err error) {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(p.stderr, "trowel: error: cancelled")
		return
	}
	fmt.Fprintf(p.stderr, "trowel: error: %s\n", strings.TrimRight(host.Printable(err.Error()), "\n"))
	if excerpt := host.Excerpt(err); excerpt != "" {
		fmt.Fprint(p.stderr, excerpt)
	}
	hint := host.Hint(err)
	var h hinted
	if errors.As(err, &h) {
		hint = h.hint
	}
	if hint != "" {
		fmt.Fprintf(p.stderr, "hint: %s\n", host.Printable(hint))
	}
}
