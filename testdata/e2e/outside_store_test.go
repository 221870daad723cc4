//go:build e2e

package e2e

import (
	"bytes"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// teamKey is what the stores want to see.
const teamKey = "team-key-that-no-plugin-sees"

// shelves are files on an HTTP server, by path.
type shelves struct {
	mu    sync.Mutex
	files map[string][]byte
}

// clone is a copy: what one build spoils must not reach the next.
func (s *shelves) clone() *shelves {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &shelves{files: maps.Clone(s.files)}
}

func (s *shelves) count(part string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.files {
		if strings.Contains(name, part) {
			n++
		}
	}
	return n
}

func (s *shelves) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Team-Key") != teamKey {
		http.Error(w, "whose team?", http.StatusUnauthorized)
		return
	}
	if r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil || int64(len(body)) != r.ContentLength {
			return // it is shown whole or not at all
		}
		s.mu.Lock()
		s.files[r.URL.Path] = body
		s.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		return
	}
	s.mu.Lock()
	body, ok := s.files[r.URL.Path]
	s.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// storeFault is what becomes of a store.
type storeFault string

const (
	storeWell      storeFault = ""
	storeDead      storeFault = "dead"      // nobody listens any more, and connections break
	storeHangs     storeFault = "hangs"     // it takes requests and never answers
	storeStalls    storeFault = "stalls"    // it sends half of an answer and no more
	storeGarbage   storeFault = "garbage"   // other bytes, as many
	storeTruncated storeFault = "truncated" // half of them, and the connection ends
	storeShort     storeFault = "short"     // half of them, said to be all
	storeEndless   storeFault = "endless"   // far more of them
	storeBroken    storeFault = "broken"    // status 500
	storeLocked    storeFault = "locked"    // status 401
)

// storeFaults are all that can become of a store.
func storeFaults() []storeFault {
	return []storeFault{storeDead, storeHangs, storeStalls, storeGarbage, storeTruncated, storeShort, storeEndless, storeBroken, storeLocked}
}

// store serves shelves until the request of a number, and misbehaves from then on.
type store struct {
	*shelves
	server *httptest.Server
	fault  storeFault
	at     int64
	asked  atomic.Int64
	bad    atomic.Int64 // requests that met the fault
	ended  chan struct{}
	once   sync.Once
}

func newStore(t *testing.T, files *shelves, fault storeFault, at int64) *store {
	t.Helper()
	s := &store{shelves: files, fault: fault, at: at, ended: make(chan struct{})}
	s.server = httptest.NewUnstartedServer(s)
	s.server.Config.ErrorLog = silent()
	s.server.Start()
	t.Cleanup(s.close)
	return s
}

func (s *store) close() {
	s.once.Do(func() { close(s.ended) })
	s.server.CloseClientConnections()
	s.server.Close()
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n := s.asked.Add(1); s.fault == storeWell || n < s.at {
		s.shelves.ServeHTTP(w, r)
		return
	}
	s.bad.Add(1)
	switch s.fault {
	case storeDead:
		_ = s.server.Listener.Close()
		go s.server.CloseClientConnections()
		panic(http.ErrAbortHandler)
	case storeHangs:
		s.hang(r)
		panic(http.ErrAbortHandler)
	case storeBroken:
		http.Error(w, "out of order", http.StatusInternalServerError)
	case storeLocked:
		http.Error(w, "whose team?", http.StatusUnauthorized)
	default:
		s.spoil(w, r)
	}
}

func (s *store) hang(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	select {
	case <-s.ended:
	case <-r.Context().Done():
	}
}

// spoil answers with something else than what is asked for.
func (s *store) spoil(w http.ResponseWriter, r *http.Request) {
	right := httptest.NewRecorder()
	s.shelves.ServeHTTP(right, r)
	body := right.Body.Bytes()
	maps.Copy(w.Header(), right.Header())
	switch s.fault {
	case storeGarbage:
		body = make([]byte, len(body))
		for i := range body {
			body[i] = byte(rand.Uint32())
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	case storeShort:
		body = body[:len(body)/2]
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Header().Del("Content-Range")
	case storeTruncated, storeStalls:
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		body = body[:len(body)/2]
	case storeEndless:
		w.Header().Del("Content-Length")
		w.WriteHeader(right.Code)
		for r.Context().Err() == nil && r.Method != http.MethodHead {
			if _, err := w.Write(bytes.Repeat([]byte("more "), 10_000)); err != nil {
				return
			}
		}
		return
	}
	w.WriteHeader(right.Code)
	_, _ = w.Write(body)
	_ = http.NewResponseController(w).Flush()
	switch s.fault {
	case storeStalls:
		s.hang(r)
		panic(http.ErrAbortHandler)
	case storeTruncated:
		panic(http.ErrAbortHandler)
	}
}
