package host

import (
	"errors"

	"github.com/trowel-build/trowel/host/internal/executor"
)

// ExitCode is the exit code of the process of a RUN, as a shell has it, if a build failed because of one.
func ExitCode(err error) (code int, ok bool) {
	exit, ok := errors.AsType[*executor.ExitError](err)
	if !ok {
		return 0, false
	}
	return exit.Code, true
}
