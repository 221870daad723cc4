//go:build amd64

package procview

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// End kills and reaps what is left of the step, and what that leaves, while its calls are still answered. proc is the real
// /proc; the caller inherits orphans and has no children but the step's.
func End(proc int) error {
	w := &worker{server: &server{proc: proc, self: os.Getpid()}}
	for {
		if err := w.killMembers(); err != nil {
			return err
		}
		_, err := unix.Wait4(-1, nil, 0, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for processes: %w", err)
		}
	}
}

func (w *worker) killMembers() error {
	dir, err := unix.Openat(w.proc, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	defer closeFD(dir)
	names, err := readNames(dir)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for name := range names {
		if isNumber(name) {
			pids = append(pids, number(name))
		}
	}
	for pid := range w.members(pids) {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	return nil
}
