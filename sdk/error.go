package sdk

import (
	"errors"
	"time"
)

// Error is an error with a code, as it crosses between a plugin and the host. Other errors that a plugin returns cross with
// the code "internal".
type Error struct {
	Code    ErrorCode `json:"code"`
	Message string    `json:"message,omitempty"`
	// Retryable says that the same call may work later; RetryAfterMillis when, if it is known.
	Retryable        bool  `json:"retryable,omitempty"`
	RetryAfterMillis int64 `json:"retryAfterMillis,omitempty"`
	// Detail is for somebody who looks for the cause: a stack trace, or the last words of a plugin that crashed.
	Detail string `json:"detail,omitempty"`
}

// ErrorCode says what kind of error one is.
type ErrorCode string

// The codes of errors. A plugin uses those up to CodeInternal; the host adds the last two.
const (
	CodeNotFound     ErrorCode = "not_found"    // [ErrNotFound]
	CodeNotMine      ErrorCode = "not_mine"     // [ErrNotMine]
	CodeUnauthorized ErrorCode = "unauthorized" // a service refused the plugin's credential
	CodeDenied       ErrorCode = "denied"       // the user did not grant it
	CodeInvalid      ErrorCode = "invalid"      // a request, a configuration or an instruction is wrong
	CodeUnsupported  ErrorCode = "unsupported"  // the other side does not know the operation or the feature
	CodeUnavailable  ErrorCode = "unavailable"  // a service cannot be reached
	CodeLimit        ErrorCode = "limit"        // too large or too many
	CodeCancelled    ErrorCode = "cancelled"    // the build ended
	CodeInternal     ErrorCode = "internal"     // anything else
	CodeCrashed      ErrorCode = "crashed"      // the plugin ended in the call
	CodeTimeout      ErrorCode = "timeout"      // the plugin took too long
)

// Error is the message of e, or its code if it has none.
func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Code)
	}
	return e.Message
}

// RetryAfter is when to try again; 0 if it is not known.
func (e *Error) RetryAfter() time.Duration {
	return time.Duration(e.RetryAfterMillis) * time.Millisecond
}

// Is makes the codes not_found and not_mine match [ErrNotFound] and [ErrNotMine].
func (e *Error) Is(target error) bool {
	return e.Code == CodeNotFound && target == ErrNotFound || e.Code == CodeNotMine && target == ErrNotMine
}

// AsError is err as an [*Error]: itself if it is or wraps one, else a new one. It is nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	e := &Error{Code: CodeInternal}
	if coded, ok := errors.AsType[*Error](err); ok {
		copied := *coded
		e = &copied
	}
	switch {
	case errors.Is(err, ErrNotFound):
		e.Code = CodeNotFound
	case errors.Is(err, ErrNotMine):
		e.Code = CodeNotMine
	}
	e.Message = err.Error()
	return e
}
