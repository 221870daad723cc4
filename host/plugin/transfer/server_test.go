package transfer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/sdk"
)

// server keeps objects by path, as an object store does, and can be made to misbehave.
type server struct {
	*httptest.Server
	// fault, if it is set, may answer the n-th request (from 1) itself; it says whether it did.
	fault func(w http.ResponseWriter, r *http.Request, n int) bool

	mu sync.Mutex

	objects  map[string][]byte
	tags     map[string]string // ETags by path; else the content decides
	requests []string          // method, path and range
	sent     int64             // bytes of bodies
	got      int64
	largest  int // requests at once
	now      int
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{objects: map[string][]byte{}, tags: map[string]string{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
	n := len(s.requests)
	s.now++
	s.largest = max(s.largest, s.now)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	if s.fault != nil && s.fault(w, r, n) {
		return
	}
	s.serve(w, r)
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		s.mu.Lock()
		content, ok := s.objects[r.URL.Path]
		tag := s.tags[r.URL.Path]
		s.mu.Unlock()
		if !ok {
			http.Error(w, "<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>", http.StatusNotFound)
			return
		}
		if tag == "" {
			sum := sha256.Sum256(content)
			tag = strconv.Quote(hex.EncodeToString(sum[:8]))
		}
		w.Header().Set("ETag", tag)
		http.ServeContent(&counting{ResponseWriter: w, server: s}, r, "", time.Time{}, bytes.NewReader(content))
	case http.MethodPut, http.MethodPost:
		content, err := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.got += int64(len(content))
		if err != nil {
			return // an object store keeps no half object
		}
		s.objects[r.URL.Path] = content
		w.Header().Set("ETag", fmt.Sprintf("%q", r.URL.Path))
	}
}

type counting struct {
	http.ResponseWriter
	server *server
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.sent += int64(n)
	return n, err
}

// count says how many requests there were, and forgets them.
func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.requests)
	s.requests = nil
	return n
}

func (s *server) put(path string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[path] = content
}

func (s *server) object(path string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[path]
}

// engine makes an engine with parts of 64 KiB that waits little.
func engine(t testing.TB, change ...func(*transfer.Options)) *transfer.Engine {
	t.Helper()
	client := &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 8},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(client.CloseIdleConnections)
	o := transfer.Options{
		Send: func(ctx context.Context, request *http.Request, _ sdk.RedirectPolicy) (*http.Response, error) {
			return client.Do(request.WithContext(ctx))
		},
		PartSize: part,
		Backoff:  time.Millisecond,
		Stall:    time.Second,
	}
	for _, f := range change {
		f(&o)
	}
	return transfer.New(o)
}

const part = 64 << 10

// noise is n bytes that are the same for a seed.
func noise(seed uint64, n int) []byte {
	out := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = source.Read(out)
	return out
}

func blobOf(content []byte) sdk.Blob {
	sum := sha256.Sum256(content)
	return sdk.Blob{Digest: sdk.Digest("sha256:" + hex.EncodeToString(sum[:])), Size: int64(len(content))}
}

// getPlan is a plan for the object at a path.
func (s *server) getPlan(path string) sdk.Transfer {
	return sdk.Transfer{Ranges: true, Parts: []sdk.TransferPart{{Method: "GET", URL: s.URL + path}}}
}

// putPlan is a plan for parts of a size, each an object; 0 makes it one.
func (s *server) putPlan(path string, size, partSize int64) sdk.Transfer {
	if partSize == 0 {
		return sdk.Transfer{Parts: []sdk.TransferPart{{Method: "PUT", URL: s.URL + path}}}
	}
	plan := sdk.Transfer{Token: path}
	for at := int64(0); at < size; at += partSize {
		plan.Parts = append(plan.Parts, sdk.TransferPart{
			Method: "PUT", URL: fmt.Sprintf("%s%s/%d", s.URL, path, at), Offset: at, Length: min(partSize, size-at),
		})
	}
	return plan
}

// assembled is what the parts of a plan make together.
func (s *server) assembled(path string, size, partSize int64) []byte {
	var out []byte
	for at := int64(0); at < size; at += partSize {
		out = append(out, s.object(fmt.Sprintf("%s/%d", path, at))...)
	}
	return out
}

// stall does nothing until the client has gone, or would have: where a body was not read to its end, a server does not learn
// that it has.
func stall(r *http.Request) bool {
	select {
	case <-r.Context().Done():
	case <-time.After(2 * time.Second):
	}
	return true
}

// hijack ends the connection of a request, after some bytes of an answer if there are any.
func hijack(w http.ResponseWriter, answer string) bool {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, answer)
	_ = conn.Close()
	return true
}
