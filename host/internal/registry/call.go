package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// task says what requests are for, for errors.
type task struct {
	op  string // such as "pull blob"
	ref string // such as "docker.io/library/debian@sha256:…"
	// tries is how often a request is sent; 0 means as often as the retry options say.
	tries int
}

// call sends a request until it is answered with one of the statuses, or with a fault that will not pass.
func (h *host) call(ctx context.Context, t task, r *request, want ...int) (*http.Response, error) {
	tries := attempts{host: h, most: h.retry.Attempts}
	if t.tries > 0 {
		tries.most = t.tries
	}
	for {
		resp, err := h.once(ctx, t, r, want...)
		if err == nil {
			return resp, nil
		}
		if err := tries.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

// once sends a request and makes an error of any answer but those wanted.
func (h *host) once(ctx context.Context, t task, r *request, want ...int) (*http.Response, error) {
	resp, err := h.try(ctx, r)
	if err != nil {
		return nil, h.wrap(ctx, t, r, err)
	}
	if slices.Contains(want, resp.StatusCode) {
		return resp, nil
	}
	refusal := h.refusal(resp, t.op, t.ref)
	h.explain(ctx, r, refusal)
	return nil, refusal
}

// wrap says what an error without an answer kept from being done.
func (h *host) wrap(ctx context.Context, t task, r *request, err error) error {
	if errors.Is(err, errOutOfStep) || errors.Is(err, context.Canceled) {
		return err
	}
	wrapped := &Error{Op: t.op, Ref: t.ref, Err: err}
	if _, ok := errors.AsType[*sourceError](err); ok {
		return wrapped
	}
	if inner, ok := errors.AsType[*Error](err); ok { // of the token server
		wrapped.Status, wrapped.retryAfter, wrapped.Hint = inner.Status, inner.retryAfter, inner.Hint
		h.explain(ctx, r, wrapped)
	}
	if network, ok := errors.AsType[*networkError](err); ok {
		wrapped.Hint, wrapped.Cure = network.hint, network.cure
	}
	return wrapped
}

// explain adds what the user can do about a refusal.
func (h *host) explain(ctx context.Context, r *request, e *Error) {
	switch {
	case e.Hint != "":
	case e.Is(ErrDenied):
		e.Hint = h.auth.hint(ctx, r.access)
	case e.Status == http.StatusNotFound && r.method == http.MethodPost:
		e.Hint = fmt.Sprintf("%s does not make repositories by itself: create %q there first", h.name, r.access.repository)
	}
}
