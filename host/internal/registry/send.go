package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync"
	"time"
)

var (
	errNoLocation       = errors.New("the registry's answer does not say where to go on")
	errBadLocation      = errors.New("the registry's answer names no usable address to go on at")
	errTooManyRedirects = errors.New("too many redirects")
	errNoAnswer         = errors.New("no answer in time")
	errStalled          = errors.New("the connection stalled")
	// errOutOfStep says that a request of an upload was not taken for a reason that is gone; what the registry has is to
	// be asked now.
	errOutOfStep = errors.New("the upload is out of step")
)

// request is one request to a registry's API. It can be sent more than once.
type request struct {
	method string
	url    *url.URL
	header http.Header
	open   func(ctx context.Context) (io.ReadCloser, error) // the body; nil: none
	length int64                                            // of the body; -1: unknown
	access access
	answer time.Duration // how long to wait for the answer; 0: the default
	// single forbids to send the body twice: what the registry has of it must be asked before.
	single bool
}

// maxSends is how often a request is sent to get past the registry's door: without a credential, with a token, with a
// fresh token, with another credential, and with one or two more where providers have several.
const maxSends = 6

// try sends a request, with a credential if the registry wants one. Of a refusal it learns what the registry wants, and
// sends the request again; a refused credential is replaced.
func (h *host) try(ctx context.Context, r *request) (*http.Response, error) {
	granted, err := h.auth.authorise(ctx, r.access)
	if err != nil {
		return nil, err
	}
	for sent := 1; ; sent++ {
		resp, err := h.roundTrip(ctx, r, granted.header)
		if err != nil {
			return nil, err
		}
		if sent == maxSends || !h.refused(resp) {
			return resp, nil
		}
		next, err := h.auth.renew(ctx, r.access, granted, resp.Header)
		if err != nil {
			drain(resp.Body)
			return nil, err
		}
		if next.header == granted.header { // nothing better to offer
			return resp, nil
		}
		drain(resp.Body)
		if r.single && r.open != nil {
			return nil, errOutOfStep
		}
		granted = next
	}
}

// roundTrip sends a request and follows redirects. The authorization goes to the registry's own address alone, and
// once the request has left it, to nobody.
func (h *host) roundTrip(ctx context.Context, r *request, authorization string) (*http.Response, error) {
	at := r.url
	for range maxRedirects + 1 {
		if !h.owns(at) {
			authorization = ""
		}
		resp, err := h.exchange(ctx, r, at, authorization)
		if err != nil {
			return nil, err
		}
		if !isRedirect(resp.StatusCode, r.method) {
			return resp, nil
		}
		next, err := h.location(resp)
		drain(resp.Body)
		if err != nil {
			return nil, err
		}
		at = next
	}
	return nil, errTooManyRedirects
}

func isRedirect(status int, method string) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		return method == http.MethodGet || method == http.MethodHead
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// exchange sends a request to one address.
func (h *host) exchange(ctx context.Context, r *request, at *url.URL, authorization string) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	wait := r.answer
	if wait == 0 {
		wait = h.timeouts.Answer
	}
	timer := &answerTimer{wait: wait, cancel: cancel}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, timer.trace()), r.method, at.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	for key, values := range r.header {
		req.Header[key] = slices.Clone(values)
	}
	req.Header.Set("User-Agent", h.userAgent)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	if r.open != nil {
		// The transport opens the body again where a connection turned out to be closed before anything was sent.
		req.GetBody = func() (io.ReadCloser, error) {
			body, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			return &stallGuard{ReadCloser: body, limit: h.timeouts.Stall, cancel: cancel}, nil
		}
		if req.Body, err = req.GetBody(); err != nil {
			cancel(nil)
			return nil, err
		}
		req.ContentLength = r.length
	}
	transport := h.foreign
	if h.owns(at) {
		transport = h.own
	}
	resp, err := transport.RoundTrip(req)
	timer.stop()
	if err != nil {
		cause := context.Cause(ctx)
		cancel(nil)
		if errors.Is(cause, errNoAnswer) || errors.Is(cause, errStalled) {
			err = cause
		}
		return nil, describeNetworkError(at, err)
	}
	resp.Body = &answerBody{
		ReadCloser: resp.Body, at: at, limit: h.timeouts.Stall,
		cause: func() error { return context.Cause(ctx) }, cancel: cancel,
	}
	return resp, nil
}

// answerTimer cancels a request whose answer does not come in time after it was written.
type answerTimer struct {
	wait   time.Duration
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

func (t *answerTimer) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{WroteRequest: func(info httptrace.WroteRequestInfo) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.stopped || info.Err != nil {
			return
		}
		if t.timer != nil { // sent anew, on another connection
			t.timer.Stop()
		}
		t.timer = time.AfterFunc(t.wait, func() { t.cancel(errNoAnswer) })
	}}
}

func (t *answerTimer) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// stallGuard is a request's body. It cancels the request when the connection takes no bytes for too long; waiting for
// the body itself does not count.
type stallGuard struct {
	io.ReadCloser
	limit  time.Duration
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	timer  *time.Timer
	closed bool
}

// Read stops the watch while the body is waited for.
func (g *stallGuard) Read(p []byte) (int, error) {
	g.watch(false)
	n, err := g.ReadCloser.Read(p)
	g.watch(err == nil)
	return n, err
}

// Close ends the watch.
func (g *stallGuard) Close() error {
	g.mu.Lock()
	g.closed = true
	if g.timer != nil {
		g.timer.Stop()
	}
	g.mu.Unlock()
	return g.ReadCloser.Close()
}

func (g *stallGuard) watch(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case !on || g.closed:
		if g.timer != nil {
			g.timer.Stop()
		}
	case g.timer == nil:
		g.timer = time.AfterFunc(g.limit, func() { g.cancel(errStalled) })
	default:
		g.timer.Reset(g.limit)
	}
}

// answerBody is an answer's body. A read that takes too long ends the request, and so does closing it.
type answerBody struct {
	io.ReadCloser
	at     *url.URL
	cause  func() error // why the request was cancelled, if it was
	limit  time.Duration
	cancel context.CancelCauseFunc
}

// Read reads within the limit.
func (b *answerBody) Read(p []byte) (int, error) {
	timer := time.AfterFunc(b.limit, func() { b.cancel(errStalled) })
	n, err := b.ReadCloser.Read(p)
	timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := b.cause(); errors.Is(cause, errStalled) {
			err = cause
		}
		err = describeNetworkError(b.at, err)
	}
	return n, err
}

// Close closes the body and releases what the request holds.
func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
