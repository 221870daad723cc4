package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// authority is a private certificate authority.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	dir         string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.certificate, a.key = a.issue(t, "ca", &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "test authority"},
	})
	return a
}

// issue makes a certificate and stores it as NAME.pem and NAME.key.
func (a *authority) issue(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if a.certificate != nil {
		parent, signer = a.certificate, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		a.file(name + ".pem"): {Type: "CERTIFICATE", Bytes: der},
		a.file(name + ".key"): {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// serve starts a registry with a certificate of the authority.
func (a *authority) serve(t *testing.T, handler http.Handler, clients tls.ClientAuthType) string {
	t.Helper()
	a.issue(t, "server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	pair, err := tls.LoadX509KeyPair(a.file("server.pem"), a.file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: clients}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "https://")
}

func TestPrivateAuthority(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	server := newTestRegistry(t)
	host := a.serve(t, server, tls.NoClientCert)
	repository := Repository{Registry: host, Path: "app"}
	client := func(settings Settings) *Client {
		return newTestClient(t, Options{Registries: map[string]Settings{host: settings}})
	}
	content := noise(1, 9<<20)
	if _, err := client(Settings{CA: a.file("ca.pem")}).Push(t.Context(), repository, completeBlob(content), nil, nil); err != nil {
		t.Errorf("push with ca: %v", err)
	}
	if got, err := readBlob(t, client(Settings{CA: a.file("ca.pem")}), repository, describe(content)); err != nil || len(got) != len(content) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if err := client(Settings{TLS: TLSSkip}).CheckPush(t.Context(), repository); err != nil {
		t.Errorf(`push with tls = "skip": %v`, err)
	}
	err := client(Settings{TLS: TLSVerify}).CheckPush(t.Context(), repository)
	if want := "verify the certificate of " + host + ": signed by an unknown authority"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v\n want %s", err, want)
	}
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Hint, `ca under [registry."`+host+`"]`) {
		t.Errorf("hint %q", e.Hint)
	}
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	host := a.serve(t, newTestRegistry(t), tls.RequireAndVerifyClientCert)
	repository := Repository{Registry: host, Path: "app"}
	with := Settings{CA: a.file("ca.pem"), ClientCert: a.file("client.pem"), ClientKey: a.file("client.key")}
	if err := newTestClient(t, Options{Registries: map[string]Settings{host: with}}).CheckPush(t.Context(), repository); err != nil {
		t.Error(err)
	}
	without := Settings{CA: a.file("ca.pem")}
	err := newTestClient(t, Options{Registries: map[string]Settings{host: without}}).CheckPush(t.Context(), repository)
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("error %v", err)
	}
}

// TestRedirectShowsNoClientCertificate redirects to another host, which would take a certificate.
func TestRedirectShowsNoClientCertificate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue(t, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	content := noise(2, 100)
	shown := map[string]int{}
	storage := a.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown["storage"] += len(r.TLS.PeerCertificates)
		_, _ = w.Write(content)
	}), tls.VerifyClientCertIfGiven)
	host := a.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown["registry"] += len(r.TLS.PeerCertificates)
		http.Redirect(w, r, "https://"+storage+"/", http.StatusFound)
	}), tls.VerifyClientCertIfGiven)
	settings := Settings{CA: a.file("ca.pem"), ClientCert: a.file("client.pem"), ClientKey: a.file("client.key")}
	client := newTestClient(t, Options{Registries: map[string]Settings{host: settings}})
	if _, err := readBlob(t, client, Repository{Registry: host, Path: "app"}, describe(content)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"registry": 1, "storage": 0}, shown); diff != "" {
		t.Errorf("certificates shown (-want +got):\n%s", diff)
	}
}

func TestPlainServerBehindHTTPS(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	client := newTestClient(t, Options{Registries: map[string]Settings{server.host(): {TLS: TLSVerify}}})
	err := client.CheckPush(t.Context(), server.repository("app"))
	if err == nil || !strings.HasSuffix(err.Error(), "speaks plain HTTP, not HTTPS") {
		t.Errorf("error %v", err)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for name, test := range map[string]struct {
		settings Settings
		want     string
	}{
		"mode":           {Settings{TLS: "of"}, `tls is "of", and must be "verify", "skip", "insecure" or "off"`},
		"key missing":    {Settings{ClientCert: "x"}, "client-cert is set without client-key"},
		"cert missing":   {Settings{ClientKey: "x"}, "client-key is set without client-cert"},
		"ca without TLS": {Settings{TLS: TLSOff, CA: "x"}, `tls is "off"`},
		"transfers":      {Settings{Transfers: -1}, "transfers is -1"},
		"mirror":         {Settings{Mirrors: []string{"https://mirror.example.com"}}, `mirror "https://mirror.example.com" must be a host`},
		"no file":        {Settings{CA: "/nonexistent.pem"}, "read ca: open /nonexistent.pem"},
		"no certificate": {Settings{CA: a.file("ca.key")}, "no PEM certificate in it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := New(Options{Registries: map[string]Settings{"registry.example.com": test.settings}})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "registry.example.com") {
				t.Errorf("error %v, want %q and the registry in it", err, test.want)
			}
		})
	}
}

// TestProxy has a registry that exists only behind the proxy, and one on this machine that must not be proxied.
func TestProxy(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	var proxied []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxied = append(proxied, r.URL.Host)
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := newTestClient(t, Options{
		Registries: map[string]Settings{"registry.invalid": {TLS: TLSOff}},
		Proxy:      func(*url.URL) (*url.URL, error) { return at, nil },
	})
	for _, registry := range []string{"registry.invalid", server.host()} {
		if err := client.CheckPush(t.Context(), Repository{Registry: registry, Path: "app"}); err != nil {
			t.Errorf("push to %s: %v", registry, err)
		}
	}
	if diff := cmp.Diff([]string{"registry.invalid", "registry.invalid"}, proxied); diff != "" {
		t.Errorf("through the proxy went (-want +got):\n%s", diff)
	}
}

func TestNetworkErrors(t *testing.T) {
	t.Parallel()
	dead := httptest.NewServer(nil)
	dead.Close()
	refusing := strings.TrimPrefix(dead.URL, "http://")
	for registry, want := range map[string]string{
		refusing:           "connect to " + refusing + ": connection refused",
		"registry.invalid": "look up registry.invalid: ",
	} {
		client := newTestClient(t, Options{Proxy: func(*url.URL) (*url.URL, error) { return nil, nil }})
		_, err := client.Resolve(t.Context(), Repository{Registry: registry, Path: "app"}.Tagged("1"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\n want %s", err, want)
		}
	}
}
