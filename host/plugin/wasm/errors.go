package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/tetratelabs/wazero/sys"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

var (
	errClosed     = errors.New("the plugin was closed")
	errSuperseded = errors.New("the compiled module is ready")
	errTimeout    = errors.New("the plugin's time is over")
	errStartLimit = errors.New("the plugin's time to start is over")
)

// failed is an error of a plugin, which it names.
func (p *Plugin) failed(code sdk.ErrorCode, format string, args ...any) *sdk.Error {
	return &sdk.Error{Code: code, Message: fmt.Sprintf("plugin %q ", p.name) + fmt.Sprintf(format, args...)}
}

// named is err as an error of this plugin.
func (p *Plugin) named(err error, code sdk.ErrorCode) *sdk.Error {
	e := *coded(err, code)
	e.Message = fmt.Sprintf("plugin %q: %s", p.name, e.Message)
	return &e
}

// ended says why a call ended whose context is done.
func (p *Plugin) ended(ctx context.Context) *sdk.Error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTimeout):
		return p.failed(sdk.CodeTimeout, "did not answer within %v: raise limits.timeout if it needs longer", p.limits.Timeout)
	case errors.Is(cause, errStartLimit):
		return p.failed(sdk.CodeTimeout, "was not ready within %v: raise limits.start if it needs longer", p.limits.Start)
	default:
		return p.failed(sdk.CodeCancelled, "was cancelled: %v", cause)
	}
}

// crashed says why an entry into an instance failed.
func (p *Plugin) crashed(ctx context.Context, i *instance, err error) *sdk.Error {
	i.stdout.flush()
	i.stderr.flush()
	detail, cause := i.stderr.last(), printable(i.stderr.cause)
	var e *sdk.Error
	exit, exited := errors.AsType[*sys.ExitError](err)
	switch {
	case exited && (exit.ExitCode() == sys.ExitCodeDeadlineExceeded || exit.ExitCode() == sys.ExitCodeContextCanceled) && ctx.Err() != nil:
		e = p.ended(ctx)
	case i.memory.refused:
		e = p.failed(sdk.CodeLimit, "needed more memory than limits.memory = %q allows: raise it", size(p.limits.Memory))
	case cause != "":
		e = p.failed(sdk.CodeCrashed, "crashed: %s", cause)
	case exited:
		e = p.failed(sdk.CodeCrashed, "exited with status %d", exit.ExitCode())
	default:
		reason, trace, _ := strings.Cut(err.Error(), "\n")
		reason = strings.TrimPrefix(strings.TrimSuffix(reason, " (recovered by wazero)"), "wasm error: ")
		e = p.failed(sdk.CodeCrashed, "crashed: %s", printable(reason))
		if detail == "" {
			detail = trace[:min(len(trace), maxTail)]
		}
	}
	e.Detail = detail
	return e
}

// printable is text without what a terminal would obey, cut to a line.
func printable(text string) string {
	const most = 200
	cut := []rune(text)
	cut = cut[:min(len(cut), most)]
	for i, r := range cut {
		if !unicode.IsPrint(r) {
			cut[i] = unicode.ReplacementChar
		}
	}
	return string(cut)
}

// unanswered says what is wrong with a call that returned without an answer of use; nil if it answered.
func (p *Plugin) unanswered(s *session, result int32) *sdk.Error {
	switch {
	case s.flooded:
		return p.failed(sdk.CodeLimit, "answered operation %d with more than %s", s.op, size(abi.MaxResponse))
	case result != 0:
		return p.failed(sdk.CodeUnsupported, "did not take operation %d: it returned %d", s.op, result)
	case len(s.answer) == 0:
		return p.failed(sdk.CodeInternal, "gave no answer to operation %d", s.op)
	}
	return nil
}
