package objects

import (
	"context"
	"errors"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// Attempts is how often a request is made at most.
const Attempts = 5

const (
	firstPause = 100 * time.Millisecond
	// A batch is one call of the host: more would not fit into a message.
	mostRequests = 256
	mostBytes    = 6 << 20
)

// Send has the host make requests, as many at once as fit in a message, and those again that failed for a reason that
// passes. It returns an answer for each, in order. All that it is given may be asked twice.
func Send(ctx context.Context, requests ...sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	var answers []sdk.HTTPResponse
	for len(requests) > 0 {
		n, size := 0, 0
		for n < len(requests) && n < mostRequests && (n == 0 || size+len(requests[n].Body) <= mostBytes) {
			size += len(requests[n].Body)
			n++
		}
		got, err := persist(ctx, requests[:n])
		if err != nil {
			return nil, err
		}
		answers, requests = append(answers, got...), requests[n:]
	}
	return answers, nil
}

// persist makes a batch of requests, and those again that failed for a reason that passes.
func persist(ctx context.Context, requests []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	answers := make([]sdk.HTTPResponse, len(requests))
	left := make([]int, len(requests))
	for i := range left {
		left[i] = i
	}
	for attempt := 1; ; attempt++ {
		batch := make([]sdk.HTTPRequest, len(left))
		for i, j := range left {
			batch[i] = requests[j]
		}
		got, err := fitting(ctx, batch)
		if err != nil {
			return nil, err
		}
		var again []int
		for i, j := range left {
			if answers[j] = got[i]; Passing(got[i]) {
				again = append(again, j)
			}
		}
		if len(again) == 0 || attempt == Attempts {
			return answers, nil
		}
		left = again
		if err := Pause(ctx, attempt); err != nil {
			return nil, err
		}
	}
}

// fitting makes a batch in halves where all the answers are too much for one message.
func fitting(ctx context.Context, batch []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	got, err := sdk.HTTP(ctx, batch...)
	if e, ok := errors.AsType[*sdk.Error](err); ok && e.Code == sdk.CodeLimit && len(batch) > 1 {
		half := len(batch) / 2
		first, err := fitting(ctx, batch[:half])
		if err != nil {
			return nil, err
		}
		second, err := fitting(ctx, batch[half:])
		return append(first, second...), err
	}
	if err == nil && len(got) != len(batch) {
		err = &sdk.Error{Code: sdk.CodeInternal, Message: "the host answered another number of requests"}
	}
	return got, err
}

// Passing says whether a request may fare better when it is made again.
func Passing(r sdk.HTTPResponse) bool {
	if r.Error != nil {
		return r.Error.Retryable || r.Error.Code == sdk.CodeUnavailable
	}
	switch r.Status {
	case 408, 425, 429, 500, 502, 503, 504:
		return true
	}
	return false
}

// Pause waits before the next attempt, each time twice as long.
func Pause(ctx context.Context, attempt int) error {
	timer := time.NewTimer(firstPause << (attempt - 1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
