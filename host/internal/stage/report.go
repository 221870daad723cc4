package stage

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/progress"
)

// fail puts an error where it belongs in the Dockerfile.
func (e *Engine) fail(st *step, err error) error {
	if st.Instruction.Command == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if _, ok := errors.AsType[*dockerfile.Error](err); ok {
		return err
	}
	hint := ""
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		hint = h.Hint()
	}
	if setup, ok := errors.AsType[*executor.SetupError](err); ok && hint == "" {
		hint = setup.Hint
	}
	return st.stage.file.Fail(st.Instruction, "", err, hint)
}

func (e *Engine) stepStarted(st *step) {
	e.Progress.Report(progress.Event{Time: time.Now(), Kind: progress.KindStepStarted, ID: st.id, Name: st.Name})
}

func (e *Engine) stepDone(ctx context.Context, st *step, status progress.Status, err error) {
	ev := progress.Event{Time: time.Now(), Kind: progress.KindStepDone, ID: st.id, Status: status}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		ev.Status = progress.StatusCancelled
	default:
		ev.Status, ev.Error = progress.StatusFailed, strings.TrimSpace(err.Error())
	}
	e.Progress.Report(ev)
}

func (e *Engine) inform(text string) {
	e.Progress.Report(progress.Event{Time: time.Now(), Kind: progress.KindMessage, Level: "info", Text: text})
}

func (e *Engine) warn(text string) {
	e.Progress.Report(progress.Event{Time: time.Now(), Kind: progress.KindMessage, Level: "warning", Text: text})
}

// formatPlatform is the form of platforms in [ImageKey].
func formatPlatform(p ocispec.Platform) string { return platforms.Format(p) }
