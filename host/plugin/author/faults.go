package author

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// refusing answers every request with a status.
func refusing(status int) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		w.WriteHeader(status)
		return true
	}
}

// refusingOnce answers the first request that does what a transfer does with a status.
func refusingOnce(status int, method string) fault {
	var done atomic.Bool
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != method || done.Swap(true) {
			return false
		}
		w.WriteHeader(status)
		return true
	}
}

// slow answers late.
func slow(by time.Duration) fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		select {
		case <-time.After(by):
		case <-r.Context().Done():
		}
		return false
	}
}

// hanging never answers.
func hanging(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	select {
	case <-r.Context().Done():
	case <-time.After(time.Minute):
	}
	return true
}

// truncating breaks every answer to a GET off in its middle.
func truncating(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	if r.Method != http.MethodGet {
		return false
	}
	whole := &recorder{header: http.Header{}, status: http.StatusOK}
	next.ServeHTTP(whole, r)
	body := whole.body.String()
	for name, values := range whole.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(max(len(body), 2)))
	w.WriteHeader(whole.status)
	_, _ = w.Write([]byte(body[:len(body)/2]))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler) // closes the connection
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   strings.Builder
}

// Header is the answer's.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader keeps the status.
func (r *recorder) WriteHeader(status int) { r.status = status }

// Write keeps the body.
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
