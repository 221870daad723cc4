package service

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

// fault makes an error with a code.
func fault(code sdk.ErrorCode, format string, args ...any) *sdk.Error {
	return &sdk.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Safe is an error of the plugin as the user may see it: without secrets, on one line, and matching what err matches.
func (s *Services) Safe(err error) error { return s.safe(err) }

// safe is an error as the plugin and the user may see it: without secrets, fit for a terminal.
func (s *Services) safe(err error) error {
	if err == nil {
		return nil
	}
	e := sdk.AsError(err)
	if e.Code == sdk.CodeInternal {
		switch {
		case errors.Is(err, context.Canceled):
			e.Code = sdk.CodeCancelled
		case errors.Is(err, context.DeadlineExceeded):
			e.Code = sdk.CodeTimeout
		}
	}
	e.Message = oneLine(s.redactor.Redact(e.Message))
	e.Detail = strings.Join(cleanLines(s.redactor.Redact(e.Detail)), "\n")
	return &safeError{err: e, cause: err}
}

// safeError shows the safe error, and matches what its cause matches.
type safeError struct {
	err   *sdk.Error
	cause error
}

// Error is the safe message.
func (e *safeError) Error() string { return e.err.Message }

// Unwrap gives the safe error alone: who follows the chain must not come to the cause's own words.
func (e *safeError) Unwrap() error { return e.err }

// Is says whether the cause is target.
func (e *safeError) Is(target error) bool { return errors.Is(e.cause, target) }
