package registry

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Retry says how often and how soon a request is repeated after a passing fault: a broken connection, a timeout,
// "too many requests", or an error of the server.
type Retry struct {
	Attempts int           // without any progress in between; 0 means 6, 1 means no repetition
	Base     time.Duration // the first pause; each further one is twice as long; 0 means 250 ms
	Max      time.Duration // the longest pause; 0 means 15 s
}

// maxRetryAfter bounds the pause that a registry can ask for.
const maxRetryAfter = 2 * time.Minute

func (r Retry) withDefaults() Retry {
	if r.Attempts == 0 {
		r.Attempts = 6
	}
	if r.Base == 0 {
		r.Base = 250 * time.Millisecond
	}
	if r.Max == 0 {
		r.Max = 15 * time.Second
	}
	return r
}

// pause returns how long to wait before the attempt, counted from 1, is repeated. Half of it is random, so that jobs
// that failed together do not come back together.
func (r Retry) pause(attempt int, asked time.Duration) time.Duration {
	pause := r.Max
	if attempt < 16 {
		pause = min(r.Max, r.Base<<(attempt-1))
	}
	pause = pause/2 + rand.N(pause/2+1)
	return max(pause, asked)
}

// clock is time, as a test can set it.
type clock interface {
	now() time.Time
	sleep(ctx context.Context, d time.Duration) error
}

type systemClock struct{}

func (systemClock) now() time.Time { return time.Now() }

func (systemClock) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// passing says whether a request that ended so may fare better when it is repeated.
func passing(err error) bool {
	if _, ok := errors.AsType[*sourceError](err); ok {
		return false
	}
	if errors.Is(err, errOutOfStep) {
		return true
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Status != 0 {
		return passingStatus(e.Status) && e.retryAfter <= maxRetryAfter
	}
	n, ok := errors.AsType[*networkError](err)
	return ok && n.passing
}

func passingStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter reads the pause that the answer asks for: seconds, or a date.
func (h *host) retryAfter(resp *http.Response) time.Duration {
	value := resp.Header.Get("Retry-After")
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(h.clock.now()), 0)
	}
	return 0
}

// attempts counts how often something was tried without progress.
type attempts struct {
	host *host
	made int
	most int
}

// again waits before the next attempt and returns nil, or returns err if there is to be none.
func (a *attempts) again(ctx context.Context, err error) error {
	a.made++
	if ctx.Err() != nil || !passing(err) || a.made >= a.most {
		return err
	}
	if errors.Is(err, errOutOfStep) {
		return nil
	}
	var asked time.Duration
	if e, ok := errors.AsType[*Error](err); ok {
		asked = e.retryAfter
	}
	pause := a.host.retry.pause(a.made, asked)
	a.host.log.Info("retry", "registry", a.host.name, "attempt", a.made, "pause", pause, "error", err)
	if slept := a.host.clock.sleep(ctx, pause); slept != nil {
		return errors.Join(slept, err)
	}
	return nil
}
