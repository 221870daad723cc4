package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const (
	maxBatch = 256
	maxBody  = 4 << 20
	// maxAnswers is how much all answers of a batch may have together: in base64 it is just below what crosses to a plugin.
	maxAnswers = 11 << 20
)

// httpService makes the requests of a plugin.
type httpService struct{ s *Services }

// HTTP implements [sdk.HTTPClient].
func (h httpService) HTTP(ctx context.Context, requests []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	if len(requests) > maxBatch {
		return nil, h.s.safe(fault(sdk.CodeLimit, "%d requests at once, and there may be %d", len(requests), maxBatch))
	}
	left := &allowance{}
	left.bytes.Store(maxAnswers)
	responses := make([]sdk.HTTPResponse, len(requests))
	var running sync.WaitGroup
	for i := range requests {
		select {
		case h.s.slots <- struct{}{}:
		case <-ctx.Done():
			running.Wait()
			return nil, h.s.safe(ctx.Err())
		}
		running.Go(func() {
			defer func() { <-h.s.slots }()
			var err error
			if responses[i], err = h.one(ctx, requests[i], left); err != nil {
				responses[i] = sdk.HTTPResponse{Error: sdk.AsError(h.s.safe(err))}
			}
		})
	}
	running.Wait()
	if err := ctx.Err(); err != nil {
		return nil, h.s.safe(err)
	}
	return responses, nil
}

func (h httpService) one(ctx context.Context, q sdk.HTTPRequest, left *allowance) (sdk.HTTPResponse, error) {
	switch {
	case q.MaxBytes < 0 || q.MaxBytes > maxBody:
		return sdk.HTTPResponse{}, fault(sdk.CodeLimit, "maxBytes is %d, and may be at most %d", q.MaxBytes, maxBody)
	case q.TimeoutMillis < 0:
		return sdk.HTTPResponse{}, fault(sdk.CodeInvalid, "timeoutMillis is negative")
	case q.Redirect != sdk.RedirectNone && q.Redirect != sdk.RedirectSameHost && q.Redirect != sdk.RedirectGranted:
		return sdk.HTTPResponse{}, fault(sdk.CodeInvalid, "there is no redirect policy %q", cut(string(q.Redirect), 40))
	}
	if q.TimeoutMillis > 0 {
		limited, cancel := context.WithTimeoutCause(ctx, time.Duration(min(q.TimeoutMillis, int64(24*time.Hour/time.Millisecond)))*time.Millisecond, errNoAnswer)
		defer cancel()
		ctx = limited
	}
	req, err := newRequest(ctx, q.Method, q.URL, q.Header, bodyReader(q.Body))
	if err != nil {
		return sdk.HTTPResponse{}, err
	}
	e := exchange{s: h.s, redirect: q.Redirect, sign: q.Sign}
	if q.Sign != nil {
		sum := sha256.Sum256(q.Body)
		e.hash = hex.EncodeToString(sum[:])
	}
	resp, err := e.run(req)
	if err != nil {
		return sdk.HTTPResponse{}, err
	}
	defer resp.Body.Close()
	return h.answer(ctx, resp, q, left)
}

// answer reads what a server sent.
func (h httpService) answer(ctx context.Context, resp *http.Response, q sdk.HTTPRequest, left *allowance) (sdk.HTTPResponse, error) {
	most := q.MaxBytes
	if most == 0 {
		most = maxBody
	}
	answer := sdk.HTTPResponse{Status: resp.StatusCode}
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		if len(q.WantHeader) > 0 && !slices.ContainsFunc(q.WantHeader, func(w string) bool { return strings.EqualFold(w, name) }) {
			continue
		}
		for _, value := range resp.Header[name] {
			answer.Header = append(answer.Header, sdk.Header{Name: name, Value: strings.ToValidUTF8(value, "\uFFFD")})
			if !left.take(len(name) + len(value)) {
				return sdk.HTTPResponse{}, errAllowance
			}
		}
	}
	body, err := io.ReadAll(&boundedReader{from: resp.Body, most: most, left: left})
	method, host := resp.Request.Method, resp.Request.URL.Host
	switch {
	case errors.Is(err, errTooLong):
		return sdk.HTTPResponse{}, fault(sdk.CodeLimit, "%s %s: the answer has more than %d bytes", method, host, most)
	case errors.Is(err, errAllowance):
		return sdk.HTTPResponse{}, err
	case err != nil:
		t, _ := parseTarget(resp.Request.URL) // it was parsed before
		return sdk.HTTPResponse{}, describe(ctx, method, t, err)
	}
	answer.Body = h.s.redactor.RedactBytes(body)
	return answer, nil
}

// allowance is how many bytes a batch may still have.
type allowance struct{ bytes atomic.Int64 }

func (a *allowance) take(n int) bool { return a.bytes.Add(-int64(n)) >= 0 }

var (
	errTooLong         = errors.New("the answer is too long")
	errAllowance error = &sdk.Error{
		Code:    sdk.CodeLimit,
		Message: "the answers of one batch of requests have more than 11 MiB together: make fewer requests at once",
	}
)

// boundedReader reads an answer within its own bound and that of the batch.
type boundedReader struct {
	from io.Reader
	most int64
	left *allowance
}

// Read implements [io.Reader].
func (r *boundedReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if r.most -= int64(n); r.most < 0 {
		return 0, errTooLong
	}
	if !r.left.take(n) {
		return 0, errAllowance
	}
	return n, err
}
