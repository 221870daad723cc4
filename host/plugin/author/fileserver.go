package author

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// server is what the plugin under test is told to use: a file server, or whatever the author has behind it. It can be made
// to fail.
type server struct {
	address string // host:port
	http    *http.Server
	next    http.Handler
	count   atomic.Int64 // of requests

	mu    sync.Mutex
	fault fault
}

// fault answers a request in the place of the server, or says that it did not.
type fault func(w http.ResponseWriter, r *http.Request, next http.Handler) bool

// serve starts a server. It ends with close.
func serve(ctx context.Context, settings TestSettings, dir string) (*server, error) {
	s := &server{next: &files{dir: dir}}
	if settings.Upstream != "" {
		upstream, err := url.Parse(settings.Upstream)
		if err != nil || upstream.Host == "" {
			return nil, fmt.Errorf("test.upstream: %q is no URL", settings.Upstream)
		}
		s.next = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			r.Out.Host = r.In.Host // which is a part of what signatures cover
		}}
	}
	if len(settings.Answers) > 0 {
		s.next = answering{settings.Answers, s.next}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.address = listener.Addr().String()
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.http.Serve(listener) }() // ends with http.ErrServerClosed
	return s, nil
}

func (s *server) close() error { return s.http.Close() }

// fail makes the server fail from now on; nil mends it.
func (s *server) fail(f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// ServeHTTP answers, or fails.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.count.Add(1)
	s.mu.Lock()
	f := s.fault
	s.mu.Unlock()
	if f != nil && f(w, r, s.next) {
		return
	}
	s.next.ServeHTTP(w, r)
}

// Answer is what the tests' server answers a request with: a table [[test.answers]].
type Answer struct {
	Method string            `toml:"method"` // empty means GET
	Path   string            `toml:"path"`   // without the query
	Status int               `toml:"status"` // 0 means 200
	Header map[string]string `toml:"header"`
	Body   string            `toml:"body"`
}

// answering gives canned answers, and leaves the rest to next.
type answering struct {
	answers []Answer
	next    http.Handler
}

// ServeHTTP answers.
func (a answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, answer := range a.answers {
		method := answer.Method
		if method == "" {
			method = http.MethodGet
		}
		if r.Method != method || r.URL.Path != answer.Path {
			continue
		}
		for name, value := range answer.Header {
			w.Header().Set(name, value)
		}
		status := answer.Status
		if status == 0 {
			status = http.StatusOK
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer.Body)
		return
	}
	a.next.ServeHTTP(w, r)
}

// files keeps what is PUT, as a plain HTTP server with a directory does: GET, HEAD, PUT and DELETE, ranges, whole files or
// none. Each path is one file, whatever slashes it has.
type files struct{ dir string }

// ServeHTTP serves a file.
func (f *files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sum := sha256.Sum256([]byte(r.URL.EscapedPath()))
	name := filepath.Join(f.dir, hex.EncodeToString(sum[:]))
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		f.get(w, r, name)
	case http.MethodPut:
		if err := f.put(r, name); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
	case http.MethodDelete:
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, "this server knows GET, HEAD, PUT and DELETE", http.StatusMethodNotAllowed)
	}
}

func (f *files) get(w http.ResponseWriter, r *http.Request, name string) {
	file, err := os.Open(name)
	if err != nil {
		http.Error(w, "there is no such file", http.StatusNotFound)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
	http.ServeContent(w, r, "", info.ModTime(), file)
}

func (f *files) put(r *http.Request, name string) (err error) {
	to, err := os.CreateTemp(f.dir, "put-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(to.Name()))
		}
	}()
	n, err := io.Copy(to, r.Body)
	if err == nil && r.ContentLength >= 0 && n != r.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err = errors.Join(err, to.Close(), context.Cause(r.Context())); err != nil {
		return err
	}
	return os.Rename(to.Name(), name)
}
