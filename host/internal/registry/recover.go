package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// sourceError is a fault of the blob that is being pushed, not of the registry it is pushed to.
type sourceError struct{ err error }

// Error returns the cause's text.
func (e *sourceError) Error() string { return "read the blob: " + e.err.Error() }

// Unwrap returns the cause.
func (e *sourceError) Unwrap() error { return e.err }

// yield chooses another way to send the bytes after the registry refused this one, and says whether there is one.
func (u *upload) yield(ctx context.Context, err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok || !u.sent {
		return false
	}
	switch e.Status {
	case http.StatusNotFound: // the upload is gone, and begins anew in the same way
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusLengthRequired, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusRequestedRangeNotSatisfiable, http.StatusNotImplemented:
		if u.mode == whole {
			return false
		}
		u.mode++
	default:
		return false
	}
	u.host.log.Info("upload begins anew, sent otherwise", "blob", u.task.ref, "error", err)
	u.cancel(ctx)
	return true
}

// recover finds out what the registry has after a fault, and says whether that is all.
func (u *upload) recover(ctx context.Context) (done bool, err error) {
	if u.digest != "" && u.sent {
		has, err := u.host.hasBlob(ctx, u.task, u.repository, u.digest, u.access)
		if has || err != nil {
			return has, err
		}
	}
	if u.at == nil || !u.sent || u.mode == whole {
		u.cancel(ctx)
		return false, nil
	}
	resp, err := u.host.call(ctx, u.task, &request{method: http.MethodGet, url: u.at, access: u.access},
		http.StatusNoContent, http.StatusOK, http.StatusAccepted)
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok && e.Status != 0 && !e.Is(ErrDenied) && !passingStatus(e.Status) {
			u.cancel(ctx) // gone, or a registry that does not say
			return false, nil
		}
		return false, err
	}
	drain(resp.Body)
	end, ok := rangeEnd(resp.Header.Get("Range"))
	if !ok || end <= 1 {
		u.cancel(ctx)
		return false, nil
	}
	u.move(resp)
	u.offset = end
	u.mode = chunked
	u.host.log.Info("upload resumed", "blob", u.task.ref, "offset", u.offset)
	return false, nil
}

// cancel takes back an upload that is not going to be finished, so that nothing is left of it, and forgets it. That it
// cannot be taken back is no fault: registries clear up in time.
func (u *upload) cancel(ctx context.Context) {
	at, sent := u.at, u.sent
	u.restart()
	if at == nil {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer stop()
	if sent {
		// Some registries keep an upload's state in its address, and take only the current one.
		if resp, err := u.host.try(ctx, &request{method: http.MethodGet, url: at, access: u.access}); err == nil {
			drain(resp.Body)
			if current, err := u.host.location(resp); err == nil && resp.StatusCode < http.StatusMultipleChoices {
				at = current
			}
		}
	}
	resp, err := u.host.try(ctx, &request{method: http.MethodDelete, url: at, access: access{repository: u.access.repository, push: clearing}})
	if err != nil {
		u.host.log.Debug("upload not cancelled", "repository", u.repository.String(), "error", err)
		return
	}
	drain(resp.Body)
}

// uploadBody is the body of one request of an upload: the blob's bytes from an offset on.
type uploadBody struct {
	upload *upload
	from   int64
	length int64 // negative: to the end

	mu      sync.Mutex
	last    *bodyReader
	source  error // what the blob's reader failed with
	retired bool
}

// open opens the blob. It is called again if the request has to be sent again.
func (b *uploadBody) open(ctx context.Context) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	r, err := b.upload.blob.Open(ctx, b.from)
	if err != nil {
		cancel(nil)
		return nil, &sourceError{err}
	}
	reader := &bodyReader{body: b, cause: func() error { return context.Cause(ctx) }, cancel: cancel, source: r, left: b.length}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = reader
	return reader, nil
}

// retire ends the reporting and returns how many bytes were read. The transport may hold on to the body for a while.
func (b *uploadBody) retire() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retired = true
	if b.last == nil {
		return 0
	}
	return b.last.sent
}

func (b *uploadBody) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.source
}

// errIdle ends a request whose blob does not grow for a while: servers and proxies give up on a silent connection.
var errIdle = errors.New("the blob does not grow")

// bodyReader reads the blob for one request. The transport may close it while it is read.
type bodyReader struct {
	body   *uploadBody
	cause  func() error
	cancel context.CancelCauseFunc
	left   int64 // negative: to the end
	sent   int64 // guarded by body.mu

	mu     sync.Mutex // held while source is used
	source io.ReadCloser
}

// Read reads on. Waiting for a growing blob for too long counts as its end, for this request.
func (r *bodyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == 0 {
		return 0, io.EOF
	}
	// The transport gives a request up at once, but sends on until its connection is closed: all of a blob may get there.
	if err := r.cause(); err != nil {
		return 0, r.body.account(r, 0, err)
	}
	if r.left > 0 && int64(len(p)) > r.left {
		p = p[:r.left]
	}
	var idle *time.Timer
	if r.left < 0 {
		idle = time.AfterFunc(r.body.upload.host.timeouts.Idle, func() { r.cancel(errIdle) })
	}
	n, err := r.source.Read(p)
	if idle != nil {
		idle.Stop()
	}
	if r.left > 0 {
		r.left -= int64(n)
	}
	return n, r.body.account(r, n, err)
}

// account counts and reports what was read, and tells a fault of the blob from one of the request.
func (b *uploadBody) account(r *bodyReader, n int, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.sent += int64(n)
	if n > 0 && !b.retired && b.last == r {
		b.upload.report(b.from + r.sent)
	}
	if err == nil {
		return nil
	}
	switch cause := r.cause(); {
	case errors.Is(cause, errIdle):
		return io.EOF
	case cause != nil: // the request was given up
		return err
	case errors.Is(err, io.EOF):
		if r.left <= 0 {
			return io.EOF
		}
		err = io.ErrUnexpectedEOF
	}
	if !b.retired {
		b.source = err
	}
	return err
}

// Close stops a Read that is waiting, and closes the blob.
func (r *bodyReader) Close() error {
	r.cancel(nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source.Close()
}
