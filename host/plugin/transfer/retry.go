package transfer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const (
	maxPause = 15 * time.Second
	// maxRetryAfter bounds the pause that a server can ask for.
	maxRetryAfter = time.Minute
	// enough is how many bytes count as progress: a server that cuts after each byte is not asked for ever.
	enough = 64 << 10
)

// errStall is why a request is given up that moves no bytes.
var errStall = errors.New("no bytes moved for too long")

// tries counts the attempts of one request.
type tries struct {
	engine *Engine
	made   int
	moved  int64
}

// progress notes that n bytes were moved. After enough of them the count starts anew.
func (t *tries) progress(n int) {
	if t.made == 0 {
		return
	}
	if t.moved += int64(n); t.moved >= enough {
		t.made, t.moved = 0, 0
	}
}

// again waits until the next attempt is due. It returns err if there is to be none.
func (t *tries) again(ctx context.Context, what string, err error) error {
	t.made++
	t.moved = 0
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if t.made >= t.engine.Attempts || !passing(err) {
		return err
	}
	pause := maxPause
	if t.made < 16 {
		pause = min(maxPause, t.engine.Backoff<<(t.made-1))
	}
	// Half of it is random, so that jobs that failed together do not come back together.
	pause = pause/2 + rand.N(pause/2+1)
	if r, ok := errors.AsType[*refusal](err); ok {
		pause = max(pause, r.after)
	}
	t.engine.Warn(fmt.Sprintf("%s: %v; again in %s", what, err, pause.Round(time.Millisecond)))
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// passing says whether a request that ended so may fare better later.
func passing(err error) bool {
	if r, ok := errors.AsType[*refusal](err); ok {
		return passingStatus(r.status) && r.after <= maxRetryAfter
	}
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		return e.Retryable || e.Code == sdk.CodeUnavailable || e.Code == sdk.CodeTimeout
	}
	if errors.Is(err, ErrMismatch) || errors.Is(err, ErrChanged) {
		return false
	}
	if _, ok := errors.AsType[*sourceError](err); ok {
		return false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return !e.IsNotFound
	}
	return true
}

func passingStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter reads the pause that an answer asks for: seconds, or a date.
func retryAfter(header http.Header) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}
