package host

import (
	"io"

	"github.com/trowel-build/trowel/host/internal/progress"
)

// Progress shows the events of a build to people or programs. It must be closed.
type Progress = progress.Printer

// NewProgress returns a [Progress] that writes to w: "auto", "tty", "plain", "quiet" or "rawjson". It looks for the CI
// system it runs in with getenv.
func NewProgress(mode string, w io.Writer, getenv func(string) string) (*Progress, error) {
	m, err := progress.ParseMode(mode)
	if err != nil {
		return nil, err
	}
	return progress.New(m, w, progress.Environment{Getenv: getenv})
}
