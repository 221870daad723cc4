package executor

import (
	"errors"
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What fails before the child is there, as opening /dev/null for its standard input, is not told as a refusal of namespaces.
func TestStartFailures(t *testing.T) {
	t.Parallel()
	denied := &fs.PathError{Op: "open", Path: "/dev/null", Err: unix.EACCES} // as os/exec returns it
	if got := explainStart(denied).Error(); !strings.Contains(got, "/dev/null") || strings.Contains(got, "clone") {
		t.Errorf("want the name of the file and nothing of a clone, got %q", got)
	}
	refused := exec.Command("/nowhere").Start()
	var setup *SetupError
	if err := explainStart(refused); !errors.As(err, &setup) || setup.Call != "clone with new namespaces" || !errors.Is(err, unix.ENOENT) {
		t.Errorf("of a child that could not be started: %v", err)
	}
}
