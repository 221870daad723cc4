package host

import (
	"errors"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/config"
	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/registry"
)

// ErrNeedsUserNamespace says that the build has to run processes, which this process may do only inside a user namespace
// of its own. See [Launcher.EnterUserNamespace].
var ErrNeedsUserNamespace = errors.New("running processes needs a user namespace")

// RequestError says that a request makes no sense, whatever the Dockerfile says.
type RequestError struct{ Err error }

// Error is the text of the cause.
func (e *RequestError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RequestError) Unwrap() error { return e.Err }

// Error is a failed build with what the user can do about it.
type Error struct {
	Err  error
	Hint string
}

// Error is the text of the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Excerpt returns the lines of the Dockerfile that an error is about, the offending one marked, for a terminal; empty if
// it is about none.
func Excerpt(err error) string {
	if e, ok := errors.AsType[*dockerfile.Error](err); ok {
		return e.Excerpt()
	}
	return ""
}

// Hint returns what the user can do about an error; empty if nobody knows.
func Hint(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Hint != "" {
		return e.Hint
	}
	if e, ok := errors.AsType[*dockerfile.Error](err); ok && e.Hint != "" {
		return e.Hint
	}
	if e, ok := errors.AsType[*registry.Error](err); ok && e.Hint != "" {
		return e.Hint
	}
	if e, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok && e.Hint() != "" {
		return e.Hint()
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return "make room there, or name a directory on another file system with --work-dir or TROWEL_WORK_DIR"
	}
	return ""
}

// RegistryCure is a setting of a registry that a failed build lacks, as far as anybody knows; its zero value if nobody does.
func RegistryCure(err error) config.RegistryCure {
	if e, ok := errors.AsType[*registry.Error](err); ok {
		return e.Cure
	}
	return config.RegistryCure{}
}

// Printable makes text that may come from an image, a registry or a Dockerfile safe for a terminal: control characters
// other than line breaks and tabs are replaced.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, text)
}
