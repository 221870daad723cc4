package registry

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
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

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// testRegistry is a registry in memory that keeps its repositories apart, resumes uploads, mounts, and does what a test
// wants done to a request first. The tests with build tag e2e run against a registry that others wrote.
type testRegistry struct {
	*httptest.Server

	mu        sync.Mutex
	before    func(w http.ResponseWriter, r *http.Request) (handled bool)
	blobs     map[string][]byte // by "repository@digest"
	manifests map[string]storedManifest
	uploads   map[string]*testUpload
	requests  []seenRequest
}

type storedManifest struct {
	mediaType string
	raw       []byte
}

type testUpload struct {
	repository string
	data       []byte
	grown      chan struct{} // gets a value when bytes arrive
}

type seenRequest struct {
	Method, Path, Query, Authorization, Range string
	Body                                      int64 // bytes received
}

func newTestRegistry(t *testing.T) *testRegistry {
	t.Helper()
	s := &testRegistry{blobs: map[string][]byte{}, manifests: map[string]storedManifest{}, uploads: map[string]*testUpload{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *testRegistry) host() string {
	return strings.TrimPrefix(strings.TrimPrefix(s.URL, "http://"), "https://")
}

func (s *testRegistry) repository(path string) Repository {
	return Repository{Registry: s.host(), Path: path}
}

// add stores a blob as if it had been pushed.
func (s *testRegistry) add(path string, content []byte) ocispec.Descriptor {
	d := describe(content)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[path+"@"+d.Digest.String()] = content
	return d
}

func (s *testRegistry) blob(path string, d ocispec.Descriptor) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[path+"@"+d.Digest.String()]
}

// intercept sets what is done to each request first.
func (s *testRegistry) intercept(before func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

// seen returns the requests with the method, or all.
func (s *testRegistry) seen(method string) []seenRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []seenRequest
	for _, r := range s.requests {
		if method == "" || r.Method == method {
			found = append(found, r)
		}
	}
	return found
}

func (s *testRegistry) openUploads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uploads)
}

// counter counts the bytes of a body as they are read.
type counter struct {
	io.ReadCloser
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	return n, err
}

func (s *testRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := &counter{ReadCloser: r.Body}
	r.Body = body
	s.mu.Lock()
	before := s.before
	s.requests = append(s.requests, seenRequest{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Authorization: r.Header.Get("Authorization"), Range: r.Header.Get("Range"),
	})
	index := len(s.requests) - 1
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests[index].Body = body.n
	}()
	if before != nil && before(w, r) {
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	switch {
	case strings.Contains(path, "/manifests/"):
		repository, ref, _ := strings.Cut(path, "/manifests/")
		s.manifest(w, r, repository, ref)
	case strings.Contains(path, "/blobs/uploads/"):
		repository, id, _ := strings.Cut(path, "/blobs/uploads/")
		s.upload(w, r, repository, id)
	case strings.Contains(path, "/blobs/"):
		repository, dgst, _ := strings.Cut(path, "/blobs/")
		s.getBlob(w, r, repository, dgst)
	default:
		http.NotFound(w, r)
	}
}

func (s *testRegistry) manifest(w http.ResponseWriter, r *http.Request, repository, ref string) {
	key := repository + "@" + ref
	if r.Method == http.MethodPut {
		raw, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		m := storedManifest{mediaType: r.Header.Get("Content-Type"), raw: raw}
		s.manifests[key], s.manifests[repository+"@"+digestOf(raw)] = m, m
		s.mu.Unlock()
		w.Header().Set("Docker-Content-Digest", digestOf(raw))
		w.WriteHeader(http.StatusCreated)
		return
	}
	s.mu.Lock()
	m, ok := s.manifests[key]
	s.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
		return
	}
	w.Header().Set("Content-Type", m.mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(m.raw)))
	w.Header().Set("Docker-Content-Digest", digestOf(m.raw))
	if r.Method == http.MethodGet {
		_, _ = w.Write(m.raw)
	}
}

func (s *testRegistry) getBlob(w http.ResponseWriter, r *http.Request, repository, dgst string) {
	s.mu.Lock()
	content, ok := s.blobs[repository+"@"+dgst]
	s.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(content)))
}

func (s *testRegistry) upload(w http.ResponseWriter, r *http.Request, repository, id string) {
	if r.Method == http.MethodPost {
		s.start(w, r, repository)
		return
	}
	s.mu.Lock()
	u := s.uploads[id]
	s.mu.Unlock()
	if u == nil || u.repository != repository {
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
		return
	}
	switch r.Method {
	case http.MethodPatch, http.MethodPut:
		if cr := r.Header.Get("Content-Range"); cr != "" && !strings.HasPrefix(cr, fmt.Sprintf("%d-", len(u.data))) {
			refuse(w, http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID", "invalid content range")
			return
		}
		if err := s.receive(u, r.Body); err != nil {
			return
		}
		if r.Method == http.MethodPut {
			s.finish(w, r, u, id)
			return
		}
		s.progress(w, u, id, http.StatusAccepted)
	case http.MethodGet:
		s.progress(w, u, id, http.StatusNoContent)
	case http.MethodDelete:
		s.mu.Lock()
		delete(s.uploads, id)
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *testRegistry) start(w http.ResponseWriter, r *http.Request, repository string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	query := r.URL.Query()
	if content, ok := s.blobs[query.Get("from")+"@"+query.Get("mount")]; ok {
		s.blobs[repository+"@"+query.Get("mount")] = content
		w.WriteHeader(http.StatusCreated)
		return
	}
	id := strconv.FormatUint(rand.Uint64(), 36)
	s.uploads[id] = &testUpload{repository: repository, grown: make(chan struct{}, 1)}
	w.Header().Set("Location", "/v2/"+repository+"/blobs/uploads/"+id+"?state=a%2Bb%3D")
	w.Header().Set("Range", "0-0")
	w.WriteHeader(http.StatusAccepted)
}

// receive keeps what arrives as it arrives, also of a connection that breaks.
func (s *testRegistry) receive(u *testUpload, body io.Reader) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := body.Read(buffer)
		s.mu.Lock()
		u.data = append(u.data, buffer[:n]...)
		s.mu.Unlock()
		if n > 0 {
			select {
			case u.grown <- struct{}{}:
			default:
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *testRegistry) progress(w http.ResponseWriter, u *testUpload, id string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Location", "/v2/"+u.repository+"/blobs/uploads/"+id+"?state=a%2Bb%3D")
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(len(u.data)-1, 0)))
	w.WriteHeader(status)
}

func (s *testRegistry) finish(w http.ResponseWriter, r *http.Request, u *testUpload, id string) {
	want := r.URL.Query().Get("digest")
	s.mu.Lock()
	defer s.mu.Unlock()
	if digestOf(u.data) != want || r.URL.Query().Get("state") != "a+b=" {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "provided digest did not match uploaded content")
		return
	}
	s.blobs[u.repository+"@"+want] = u.data
	delete(s.uploads, id)
	w.Header().Set("Docker-Content-Digest", want)
	w.WriteHeader(http.StatusCreated)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

// reset breaks the connection off.
func reset(w http.ResponseWriter) {
	panic(http.ErrAbortHandler)
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func describe(content []byte) ocispec.Descriptor {
	hash, err := digest.Parse(digestOf(content))
	if err != nil {
		panic(err)
	}
	return ocispec.Descriptor{MediaType: "application/octet-stream", Size: int64(len(content)), Digest: hash}
}

// noise returns n bytes that are the same in every run and differ with the seed, and from block to block.
func noise(seed byte, n int) []byte {
	block := make([]byte, 32<<10)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(block)
	content := make([]byte, 0, n+len(block))
	for i := uint64(0); len(content) < n; i++ {
		content = append(content, block...)
		binary.BigEndian.PutUint64(content[len(content)-len(block):], i)
	}
	return content[:n]
}

// fakeClock stands still but for the sleeps, which take no time.
type fakeClock struct {
	mu    sync.Mutex
	at    time.Time
	slept []time.Duration
}

func newFakeClock() *fakeClock { return &fakeClock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *fakeClock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slept = append(c.slept, d)
	c.at = c.at.Add(d)
	return ctx.Err()
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func (c *fakeClock) pauses() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]time.Duration(nil), c.slept...)
}

// newTestClient returns a client with a clock of its own unless the options have one.
func newTestClient(t *testing.T, options Options) *Client {
	t.Helper()
	if options.clock == nil {
		options.clock = newFakeClock()
	}
	c, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
