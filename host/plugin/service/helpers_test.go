package service_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

// authority is a private CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}
}

func (a *authority) issue(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// lab is a little network: names, an authority, and what a plugin logged.
type lab struct {
	t         *testing.T
	ca        *authority
	names     *nameServer
	mu        sync.Mutex
	logged    []string
	variables map[string]string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	return &lab{t: t, ca: newAuthority(t), names: newNameServer(t), variables: map[string]string{}}
}

// serve starts a server with TLS, for the names, and returns its port.
func (l *lab) serve(handler http.HandlerFunc, names ...string) string {
	l.t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{l.ca.issue(l.t, names...)}}
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // some tests break off handshakes
	server.StartTLS()
	l.t.Cleanup(server.Close)
	return portOf(l.t, server.URL)
}

func (l *lab) servePlain(handler http.HandlerFunc) string {
	l.t.Helper()
	server := httptest.NewServer(handler)
	l.t.Cleanup(server.Close)
	return portOf(l.t, server.URL)
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// services makes services with the lab's names and authority.
func (l *lab) services(grants service.Grants, change ...func(*service.Options)) *service.Services {
	l.t.Helper()
	o := service.Options{
		Plugin: "p", Kind: sdk.KindCache, Grants: grants, RootCAs: l.ca.pool, Resolver: l.names.resolver(),
		Getenv: func(name string) string { return l.variables[name] },
		Report: func(level sdk.Level, text string) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.logged = append(l.logged, string(level)+": "+text)
		},
	}
	for _, c := range change {
		c(&o)
	}
	s, err := service.New(o)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(s.Close)
	return s
}

func (l *lab) log() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.logged, "\n")
}

// get makes one request as a plugin does.
func get(t *testing.T, s *service.Services, request sdk.HTTPRequest) sdk.HTTPResponse {
	t.Helper()
	if request.Method == "" {
		request.Method = "GET"
	}
	responses, err := s.SDK().HTTP.HTTP(t.Context(), []sdk.HTTPRequest{request})
	if err != nil {
		t.Fatal(err)
	}
	return responses[0]
}

func wantBody(t *testing.T, r sdk.HTTPResponse, want string) {
	t.Helper()
	if r.Error != nil {
		t.Fatalf("error %s: %v", r.Error.Code, r.Error)
	}
	if string(r.Body) != want {
		t.Errorf("body %q, want %q", r.Body, want)
	}
}

func wantError(t *testing.T, err error, code sdk.ErrorCode, parts ...string) {
	t.Helper()
	e, ok := errors.AsType[*sdk.Error](err)
	if !ok {
		t.Fatalf("error %v, want one of the code %s", err, code)
	}
	if e.Code != code {
		t.Errorf("code %s (%v), want %s", e.Code, e, code)
	}
	for _, part := range parts {
		if !strings.Contains(e.Message, part) {
			t.Errorf("message %q has no %q", e.Message, part)
		}
	}
}

func wantFailure(t *testing.T, r sdk.HTTPResponse, code sdk.ErrorCode, parts ...string) {
	t.Helper()
	if r.Error == nil {
		t.Fatalf("status %d, want an error of the code %s", r.Status, code)
	}
	if r.Status != 0 || r.Header != nil || r.Body != nil {
		t.Errorf("an answer beside the error: %+v", r)
	}
	wantError(t, r.Error, code, parts...)
}

// nameServer answers for the names it was told of, with the next of their addresses each time.
type nameServer struct {
	conn net.PacketConn
	mu   sync.Mutex
	next map[string][][]string
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{conn: conn, next: map[string][][]string{}}
	t.Cleanup(func() { conn.Close() })
	go n.run()
	return n
}

// set says what the name resolves to: first to the first list, then to the second, and so on; the last stays.
func (n *nameServer) set(name string, answers ...[]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next[name] = answers
}

func (n *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
}

func (n *nameServer) run() {
	buffer := make([]byte, 1500)
	for {
		size, from, err := n.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		if answer := n.answer(buffer[:size]); answer != nil {
			n.conn.WriteTo(answer, from)
		}
	}
}

// answer makes a DNS message (RFC 1035) with A records.
func (n *nameServer) answer(query []byte) []byte {
	if len(query) < 17 {
		return nil
	}
	var labels []string
	at := 12
	for at < len(query) && query[at] != 0 {
		length := int(query[at])
		labels = append(labels, string(query[at+1:at+1+length]))
		at += 1 + length
	}
	end := at + 5
	kind := binary.BigEndian.Uint16(query[at+1:])
	n.mu.Lock()
	answers, known := n.next[strings.ToLower(strings.Join(labels, "."))]
	if kind == 1 && len(answers) > 1 {
		n.next[strings.ToLower(strings.Join(labels, "."))] = answers[1:]
	}
	n.mu.Unlock()
	out := append([]byte(nil), query[:end]...)
	out[2], out[3] = 0x81, 0x80
	copy(out[6:12], make([]byte, 6))
	if !known {
		out[3] |= 3 // no such name
		return out
	}
	if kind == 1 {
		for _, a := range answers[0] {
			ip := netip.MustParseAddr(a).As4()
			out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
			out = append(out, ip[:]...)
			out[7]++
		}
	}
	return out
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}
