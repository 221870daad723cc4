package main

import (
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// serveWeb starts a web server for a directory: web [-tls] DIR. It sets WEB to its address, or WEBTLS and writes its
// certificate to ca.pem. Each request is a line of web.log: method, path, status.
//
//	/plain/F   the file F, with neither tag nor time     /tagged/F  with a tag      /dated/F   with a time
//	/stubborn/F  with a tag, and deaf to conditions      /to/F      leads to /plain/F
//	/secret/F  for who sends "Bearer swordfish"          /away/F    leads to /secret/F of another server
//	/broken/F  breaks off in the middle, the first time  /git/R     the repository R, as git serves it
//	/put/F     becomes a file F that is sent there with PUT and the query ?signature=swordfish
//	/private/R the same, for the user x-access-token with the password swordfish
//	/meet/F    the file F, when another request of that kind waits too; 499 if its client does not wait for one
//	/leave/F   never, but counts as such a request
//	/v2/...    the registry's; the first request for a tag is one of that kind
func serveWeb(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "web [-tls] DIR")
	w := &web{dir: ts.MkAbs(args[len(args)-1]), log: ts.MkAbs("web.log"), broken: map[string]bool{}, met: make(chan struct{})}
	w.registry = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: ts.Getenv("REGISTRY")})
	if args[0] == "-tls" {
		server := httptest.NewUnstartedServer(w)
		server.Config.ErrorLog = quiet() // clients that do not trust it yet
		server.StartTLS()
		ts.Defer(server.Close)
		certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		check(ts, os.WriteFile(ts.MkAbs("ca.pem"), certificate, 0o644))
		ts.Setenv("WEBTLS", strings.TrimPrefix(server.URL, "https://"))
		return
	}
	server, other := httptest.NewServer(w), httptest.NewServer(w)
	ts.Defer(server.Close)
	ts.Defer(other.Close)
	w.other = other.URL
	ts.Setenv("WEB", strings.TrimPrefix(server.URL, "http://"))
}

type web struct {
	dir, log, other string
	registry        http.Handler
	met             chan struct{} // passes from one request that waits for another to that

	mu     sync.Mutex
	broken map[string]bool
}

// ServeHTTP answers and takes note.
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	seen := &answered{ResponseWriter: rw, code: http.StatusOK}
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		f, err := os.OpenFile(w.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = fmt.Fprintln(f, r.Method, r.URL.Path, seen.code)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			panic(err)
		}
	}()
	_, how, name := cut(r.URL.Path)
	switch how {
	case "to":
		http.Redirect(seen, r, "/plain/"+name, http.StatusFound)
	case "away":
		http.Redirect(seen, r, w.other+"/secret/"+name, http.StatusFound)
	case "put":
		w.put(seen, r, name)
	case "git", "private":
		w.git(seen, r, how)
	case "v2":
		if strings.Contains(name, "/manifests/") && !strings.Contains(name, "sha256:") && w.first(name) && !w.meet(seen, r) {
			return
		}
		w.registry.ServeHTTP(seen, r)
	case "meet":
		if w.meet(seen, r) {
			w.file(seen, r, how, name)
		}
	case "leave":
		if w.meet(seen, r) {
			w.meet(seen, r)
		}
	default:
		w.file(seen, r, how, name)
	}
}

func cut(path string) (root, first, rest string) {
	parts := strings.SplitN(path, "/", 3)
	return parts[0], parts[1], strings.Join(parts[2:], "")
}

func (w *web) file(rw http.ResponseWriter, r *http.Request, how, name string) {
	if how == "secret" && r.Header.Get("Authorization") != "Bearer swordfish" {
		rw.WriteHeader(http.StatusUnauthorized)
		return
	}
	content, err := os.ReadFile(filepath.Join(w.dir, filepath.FromSlash(filepath.Clean("/"+name))))
	if err != nil {
		http.NotFound(rw, r)
		return
	}
	at := time.Time{}
	switch how {
	case "dated":
		at = time.Unix(1e9+int64(len(content)), 0)
	case "stubborn":
		r.Header.Del("If-None-Match")
		rw.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(content))))
	case "tagged", "broken":
		rw.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(content))))
	}
	if how == "broken" && w.first(name) {
		rw.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = rw.Write(content[:len(content)/2])
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	}
	http.ServeContent(rw, r, "", at, strings.NewReader(string(content)))
}

func (w *web) put(rw http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodPut || r.URL.Query().Get("signature") != "swordfish" {
		rw.WriteHeader(http.StatusForbidden)
		return
	}
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = os.WriteFile(filepath.Join(w.dir, filepath.FromSlash(filepath.Clean("/"+name))), text, 0o644)
	}
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
	}
}

// meet waits for another request that does, and answers if there is none.
func (w *web) meet(rw http.ResponseWriter, r *http.Request) bool {
	const patience = time.Minute // of a test that has failed
	alone := time.NewTimer(patience)
	defer alone.Stop()
	select {
	case w.met <- struct{}{}:
		return true
	case <-w.met:
		return true
	case <-r.Context().Done():
		rw.WriteHeader(499)
	case <-alone.C:
		rw.WriteHeader(http.StatusGone)
	}
	return false
}

// first says whether a file is asked for the first time.
func (w *web) first(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	again := w.broken[name]
	w.broken[name] = true
	return !again
}

func (w *web) git(rw http.ResponseWriter, r *http.Request, how string) {
	if _, password, _ := r.BasicAuth(); how == "private" && password != "swordfish" {
		rw.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		rw.WriteHeader(http.StatusUnauthorized)
		return
	}
	libexec, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		panic(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(libexec)), "git-http-backend"), Root: "/" + how,
		Env: []string{"GIT_PROJECT_ROOT=" + w.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	backend.ServeHTTP(rw, r)
}

// answered remembers what was answered.
type answered struct {
	http.ResponseWriter
	code int
}

// Unwrap is for [http.ResponseController].
func (s *answered) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// WriteHeader is [http.ResponseWriter]'s.
func (s *answered) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}
