package abi

import (
	"context"
	"errors"
	"strconv"

	"github.com/trowel-build/trowel/sdk"
)

const (
	okHead    = `{"ok":`
	errorHead = `{"error":`
)

// OK is the envelope of an answer.
func OK(message []byte) []byte {
	b := make([]byte, 0, len(okHead)+len(message)+1)
	return append(append(append(b, okHead...), message...), '}')
}

// seal ends the envelope of an answer that was appended to okHead.
func seal(b []byte) []byte {
	if len(b) >= MaxResponse {
		return Fail(&sdk.Error{Code: sdk.CodeLimit, Message: "an answer of " + strconv.Itoa(len(b)) + " bytes is larger than " +
			strconv.Itoa(MaxResponse) + ", which is the most"})
	}
	return append(b, '}')
}

// Fail is the envelope of an error. One that wraps [context.Canceled] or [context.DeadlineExceeded] and has no other code
// has the code cancelled or timeout.
func Fail(err error) []byte {
	e := sdk.AsError(err)
	if e == nil {
		e = &sdk.Error{Code: sdk.CodeInternal, Message: "an error without a cause"}
	}
	if e.Code == sdk.CodeInternal || e.Code == "" {
		switch {
		case errors.Is(err, context.Canceled):
			e.Code = sdk.CodeCancelled
		case errors.Is(err, context.DeadlineExceeded):
			e.Code = sdk.CodeTimeout
		default:
			e.Code = sdk.CodeInternal
		}
	}
	return append(appendError([]byte(errorHead), e), '}')
}

// Result opens an envelope. The message is a part of it. The error is an [*sdk.Error]: the one in the envelope, or that the
// envelope is none.
func Result(envelope []byte) (message []byte, err error) {
	d := decoder{data: envelope}
	var failure *sdk.Error
	for ok := d.open('{') && d.field(); ok; ok = d.field() {
		switch string(d.key) {
		case "ok":
			if d.null() {
				continue
			}
			start := d.pos
			d.skip()
			message = envelope[min(start, len(envelope)):d.pos]
		case "error":
			failure = decodePointer(&d, decodeError)
		default:
			d.skip()
		}
	}
	if err := d.finish("envelope"); err != nil {
		return nil, err
	}
	switch {
	case (failure == nil) == (message == nil):
		return nil, &sdk.Error{Code: sdk.CodeInvalid, Message: "decode envelope: want either ok or error"}
	case failure == nil:
		return message, nil
	}
	if failure.Code == "" {
		failure.Code = sdk.CodeInternal
	}
	return nil, failure
}
