package abi

import (
	"context"
	"strconv"

	"github.com/trowel-build/trowel/sdk"
)

// endedError is an error of a call whose context ended, and wraps why it ended as well: to its caller that is what matters.
type endedError struct{ err, cause error }

func (e *endedError) Error() string { return e.err.Error() }

func (e *endedError) Unwrap() []error { return []error{e.err, e.cause} }

// withCause makes an error of a call match that of its context, if that has ended.
func withCause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return &endedError{err: err, cause: ctx.Err()}
}

func tooLarge(n int) error {
	return &sdk.Error{Code: sdk.CodeLimit, Message: "a request of " + strconv.Itoa(n) + " bytes is larger than " +
		strconv.Itoa(MaxRequest) + ", which is the most"}
}

func invalid(message string) error { return &sdk.Error{Code: sdk.CodeInvalid, Message: message} }

func unsupported(message string) error {
	return &sdk.Error{Code: sdk.CodeUnsupported, Message: message}
}

// misbehaved is the error for an answer of a plugin that breaks the contract.
func misbehaved(message string) error {
	return &sdk.Error{Code: sdk.CodeInvalid, Message: "the plugin " + message}
}
