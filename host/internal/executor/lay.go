package executor

import (
	"context"
	"errors"
	"os"
)

// laid is what a process in a plain directory is shown instead of mounts.
type laid struct{}

// lay puts what the process's mounts show, its /etc/resolv.conf and its /etc/hosts into a plain directory, whose open root
// is root. aside is the open [Plain.Aside].
func lay(_ context.Context, _, _ *os.File, p Process) (*laid, error) {
	if len(p.Mounts) > 0 {
		return nil, errors.New("not built yet")
	}
	return &laid{}, nil
}

// remove takes it away again, and puts back what it covered. It tells which files it moved.
func (*laid) remove() ([]Shift, error) { return nil, nil }
