package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"
)

// makeRegistry starts one more registry, and sets a variable to its address: mkregistry VARIABLE [WORD]... Each request is a
// line of VARIABLE.log: method, path, status.
//
//	tls                     it speaks HTTPS; VARIABLE.pem is its certificate
//	name=HOST               it has this name instead of an address, for who asks the proxy that HTTP_PROXY and HTTPS_PROXY name
//	clients                 it wants a certificate: that of client.pem and client.key
//	password=USER:PASSWORD  it wants a password
//	immutable=STATUS:WORDS  a tag is never moved: who tries is told so
//	failing=N               as many requests to name an image fail
func makeRegistry(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "mkregistry VARIABLE [WORD]...")
	r := &scenarioRegistry{log: ts.MkAbs(args[0] + ".log"), holds: registry.New(registry.Logger(quiet()), registry.WithReferrersSupport(true)), tags: map[string]string{}}
	server := httptest.NewUnstartedServer(r)
	server.Config.ErrorLog = quiet()
	secure, name := false, ""
	for _, word := range args[1:] {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "tls":
			secure = true
		case "name":
			name = value
		case "clients":
			server.TLS, err = wantClient(ts)
		case "password":
			r.password = value
		case "immutable":
			var status string
			status, r.immutable, _ = strings.Cut(value, ":")
			r.refusal, err = strconv.Atoi(status)
		case "failing":
			r.failing, err = strconv.Atoi(value)
		default:
			ts.Fatalf("mkregistry: %q is unknown", word)
		}
		check(ts, err)
	}
	if secure {
		server.StartTLS()
		check(ts, os.WriteFile(ts.MkAbs(args[0]+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o644))
	} else {
		server.Start()
	}
	ts.Defer(server.Close)
	address := server.Listener.Addr().String()
	if name != "" {
		nameServer(ts, name, address)
		address = name
	}
	ts.Setenv(args[0], address)
}

// wantClient makes a certificate for clients and has a server want it.
func wantClient(ts *testscript.TestScript) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	return &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}, errors.Join(
		os.WriteFile(ts.MkAbs("client.pem"), certificate, 0o644),
		os.WriteFile(ts.MkAbs("client.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// scenarioRegistry is a registry that does a little more than hold images.
type scenarioRegistry struct {
	holds     http.Handler
	log       string
	password  string
	immutable string
	refusal   int

	mu      sync.Mutex
	failing int
	tags    map[string]string // paths of tags: what they were moved to
}

// ServeHTTP answers and takes note.
func (r *scenarioRegistry) ServeHTTP(rw http.ResponseWriter, q *http.Request) {
	seen := &answered{ResponseWriter: rw, code: http.StatusOK}
	r.answer(seen, q)
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := os.OpenFile(r.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = fmt.Fprintln(f, q.Method, q.URL.Path, seen.code)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		panic(err)
	}
}

// tagged is the path of a tag, not that of a digest.
var tagged = regexp.MustCompile(`/manifests/[^:]+$`)

func (r *scenarioRegistry) answer(rw http.ResponseWriter, q *http.Request) {
	if user, password, _ := q.BasicAuth(); r.password != "" && user+":"+password != r.password {
		rw.Header().Set("WWW-Authenticate", `Basic realm="scenario"`)
		http.Error(rw, "who are you?", http.StatusUnauthorized)
		return
	}
	if q.Method != http.MethodPut || !tagged.MatchString(q.URL.Path) {
		r.holds.ServeHTTP(rw, q)
		return
	}
	text, err := io.ReadAll(q.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	q.Body = io.NopCloser(strings.NewReader(string(text)))
	switch r.verdict(q.URL.Path, string(text)) {
	case http.StatusOK:
		r.holds.ServeHTTP(rw, q)
	case http.StatusServiceUnavailable:
		http.Error(rw, "come back later", http.StatusServiceUnavailable)
	default:
		http.Error(rw, fmt.Sprintf(`{"errors":[{"code":"DENIED","message":%q}]}`, r.immutable), r.refusal)
	}
}

// verdict says whether a tag may name a manifest now.
func (r *scenarioRegistry) verdict(tag, manifest string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failing > 0 {
		r.failing--
		return http.StatusServiceUnavailable
	}
	if was, ok := r.tags[tag]; r.immutable != "" && ok && was != manifest {
		return r.refusal
	}
	r.tags[tag] = manifest
	return http.StatusOK
}

// servers are what a scenario's proxy leads to, by name.
type servers struct {
	mu     sync.Mutex
	byName map[string]string
}

// keyServers is where a scenario keeps them.
type keyServers struct{}

// nameServer gives a server a name at the scenario's proxy, which is started with the first.
func nameServer(ts *testscript.TestScript, name, address string) {
	known := ts.Value(keyServers{}).(*servers)
	known.mu.Lock()
	defer known.mu.Unlock()
	if known.byName == nil {
		known.byName = map[string]string{}
		proxy := httptest.NewServer(known)
		ts.Defer(proxy.Close)
		for _, variable := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
			ts.Setenv(variable, proxy.URL)
		}
		ts.Setenv("NO_PROXY", "")
	}
	known.byName[name] = address
}

// ServeHTTP is a proxy's, for what has a name and nothing else.
func (s *servers) ServeHTTP(rw http.ResponseWriter, q *http.Request) {
	name, port, _ := strings.Cut(q.Host, ":")
	s.mu.Lock()
	address, ok := s.byName[name]
	s.mu.Unlock()
	switch {
	case !ok || !slices.Contains([]string{"", "80", "443"}, port):
		http.Error(rw, "no such host", http.StatusBadGateway)
	case q.Method == http.MethodConnect:
		tunnel(rw, address)
	default:
		httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address}).ServeHTTP(rw, q)
	}
}

// tunnel connects a client with a server until one of them has enough.
func tunnel(rw http.ResponseWriter, address string) {
	server, err := net.Dial("tcp", address)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, buffered, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		panic(err)
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	ended := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(server, buffered); ended <- struct{}{} }()
	go func() { _, _ = io.Copy(client, server); ended <- struct{}{} }()
	<-ended
}
