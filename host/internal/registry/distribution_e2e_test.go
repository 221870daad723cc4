//go:build e2e

package registry

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/sdk"
)

const (
	distributionModule  = "github.com/distribution/distribution/v3/cmd/registry"
	distributionVersion = "v3.1.2"
	// htpasswd is the user "me" with the password "secret", by bcrypt.
	htpasswd = "me:$2a$04$MRdJEAeEyqiVjEJt4IIHneHSoFNtnTx7nqqgHWuU1qmbVBU2o9Hie\n"
)

// installDistribution returns the path of the distribution project's registry, built at first use.
func installDistribution(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(cache, "trowel-e2e", "distribution-"+distributionVersion)
	binary := filepath.Join(bin, "registry")
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		t.Fatal(err)
	}
	building, err := os.MkdirTemp(filepath.Dir(bin), "building-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(building) })
	cmd := exec.CommandContext(t.Context(), "go", "install", distributionModule+"@"+distributionVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+building, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("install %s: %v\n%s", distributionModule, err, out)
	}
	if err := os.Rename(building, bin); err != nil && !errors.Is(err, os.ErrExist) { // another run may have been first
		t.Fatal(err)
	}
	return binary
}

// startDistribution runs a registry with more lines in its configuration, and returns its address.
func startDistribution(t *testing.T, binary, more string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp:\n  addr: %s\n%s", dir, address, more)
	file := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "serve", file)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the registry wrote:\n%s", output.String())
		}
	})
	waitFor(t, "the registry to listen", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return address
}

func TestDistribution(t *testing.T) {
	t.Parallel()
	binary := installDistribution(t)
	t.Run("anonymous", func(t *testing.T) { testAnonymous(t, binary) })
	t.Run("htpasswd", func(t *testing.T) { testHtpasswd(t, binary) })
	t.Run("token server", func(t *testing.T) { testTokenServer(t, binary) })
	t.Run("private authority", func(t *testing.T) { testTLS(t, binary) })
	t.Run("broken uploads", func(t *testing.T) { testBrokenUploads(t, binary) })
}

// pushAndPull moves a small and a large blob and a manifest to the registry and back.
func pushAndPull(t *testing.T, client *Client, to Repository) {
	t.Helper()
	if err := client.CheckPush(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	for i, size := range []int{0, 1000, 9 << 20} {
		content := noise(byte(i), size)
		if outcome, err := client.Push(t.Context(), to, completeBlob(content), nil, nil); err != nil || outcome != Uploaded {
			t.Fatalf("Push of %d bytes = %q, %v", size, outcome, err)
		}
		if got, err := readBlob(t, client, to, describe(content)); err != nil || !bytes.Equal(got, content) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
	}
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	if _, err := client.Push(t.Context(), to, completeBlob(config), nil, nil); err != nil {
		t.Fatal(err)
	}
	raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, digestOf(config), len(config))
	if err := client.PutManifest(t.Context(), to.Tagged("1"), ocispec.MediaTypeImageManifest, raw); err != nil {
		t.Fatal(err)
	}
	resolved, err := client.Resolve(t.Context(), to.Tagged("1"))
	if err != nil || resolved.Digest.String() != digestOf(raw) {
		t.Errorf("Resolve = %v, %v", resolved, err)
	}
	if _, got, err := client.Manifest(t.Context(), to.Digested(digestOf(raw))); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("Manifest = %q, %v", got, err)
	}
	if _, err := client.Resolve(t.Context(), to.Tagged("absent")); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want %v", err, ErrNotFound)
	}
}

func testAnonymous(t *testing.T, binary string) {
	address := startDistribution(t, binary, "")
	client := newTestClient(t, Options{clock: systemClock{}})
	base, app := Repository{address, "base"}, Repository{address, "team/app"}
	pushAndPull(t, client, base)
	content := noise(2, 9<<20)
	if outcome, err := client.Push(t.Context(), app, completeBlob(content), []Repository{base}, nil); err != nil || outcome != Mounted {
		t.Errorf("Push = %q, %v; want %q", outcome, err, Mounted)
	}
	fresh := newTestClient(t, Options{clock: systemClock{}})
	if outcome, err := fresh.Push(t.Context(), app, completeBlob(content), nil, nil); err != nil || outcome != Existed {
		t.Errorf("Push = %q, %v; want %q", outcome, err, Existed)
	}
	if outcome, err := fresh.Push(t.Context(), Repository{address, "copy"}, fresh.RemoteBlob(base, describe(content)), nil, nil); err != nil || outcome != Uploaded {
		t.Errorf("Push of a remote blob = %q, %v", outcome, err)
	}
	grown := noise(7, 8<<20)
	blob := growingBlob(grown[:2<<20])
	go func() {
		time.Sleep(50 * time.Millisecond)
		blob.grow(grown[2<<20:])
		blob.complete()
	}()
	paused := newTestClient(t, Options{clock: systemClock{}, Timeouts: Timeouts{Idle: 10 * time.Millisecond}})
	if _, err := paused.Push(t.Context(), app, blob, nil, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := readBlob(t, client, app, describe(grown)); err != nil || !bytes.Equal(got, grown) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func testHtpasswd(t *testing.T, binary string) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte(htpasswd), 0o600); err != nil {
		t.Fatal(err)
	}
	address := startDistribution(t, binary, fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", file))
	to := Repository{address, "team/app"}
	right := &scriptedProvider{answers: []sdk.Credential{basic("me", "secret")}}
	pushAndPull(t, newTestClient(t, Options{Credentials: []sdk.CredentialProvider{right}, clock: systemClock{}}), to)
	wrong := &scriptedProvider{answers: []sdk.Credential{basic("me", "guess")}}
	if err := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{wrong}}).CheckPush(t.Context(), to); !errors.Is(err, ErrDenied) {
		t.Errorf("error %v, want %v", err, ErrDenied)
	}
	if err := newTestClient(t, Options{}).CheckPush(t.Context(), to); !errors.Is(err, ErrDenied) {
		t.Errorf("error %v, want %v", err, ErrDenied)
	}
}

// signer is a token server whose tokens the registry verifies by their certificate.
type signer struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	issued      atomic.Int32
}

func (s *signer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	type grant struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	var access []grant
	for _, scope := range r.URL.Query()["scope"] {
		parts := strings.Split(scope, ":")
		access = append(access, grant{parts[0], parts[1], strings.Split(parts[2], ",")})
	}
	now := time.Now()
	head, _ := json.Marshal(map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(s.certificate.Raw)}})
	claims, _ := json.Marshal(map[string]any{
		"iss": "test", "sub": "me", "aud": r.FormValue("service"), "jti": fmt.Sprint(s.issued.Add(1)),
		"exp": now.Add(time.Minute).Unix(), "nbf": now.Add(-time.Minute).Unix(), "iat": now.Unix(), "access": access,
	})
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(signed))
	x, y, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	signature := append(x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))...)
	// A life of one second makes the client ask anew nearly every time.
	fmt.Fprintf(w, `{"token":%q,"expires_in":1}`, signed+"."+base64.RawURLEncoding.EncodeToString(signature))
}

func testTokenServer(t *testing.T, binary string) {
	a := newAuthority(t)
	certificate, key := a.issue(t, "signer", &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature})
	s := &signer{key: key, certificate: certificate}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	address := startDistribution(t, binary, fmt.Sprintf(
		"auth: {token: {realm: %q, service: test, issuer: test, rootcertbundle: %q}}\n", server.URL, a.file("ca.pem")))
	to := Repository{address, "team/app"}
	right := &scriptedProvider{answers: []sdk.Credential{basic("me", "secret")}}
	client := newTestClient(t, Options{Credentials: []sdk.CredentialProvider{right}, clock: systemClock{}})
	pushAndPull(t, client, to)
	other := Repository{address, "other/app"}
	if outcome, err := client.Push(t.Context(), other, completeBlob(noise(2, 9<<20)), []Repository{to}, nil); err != nil || outcome != Mounted {
		t.Errorf("Push = %q, %v; want %q", outcome, err, Mounted)
	}
	if s.issued.Load() < 3 {
		t.Errorf("%d tokens were issued, want at least one for each scope", s.issued.Load())
	}
}

func testTLS(t *testing.T, binary string) {
	a := newAuthority(t)
	a.issue(t, "server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	a.issue(t, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	address := startDistribution(t, binary, fmt.Sprintf("  tls: {certificate: %q, key: %q, clientcas: [%q]}\n",
		a.file("server.pem"), a.file("server.key"), a.file("ca.pem")))
	settings := Settings{CA: a.file("ca.pem"), ClientCert: a.file("client.pem"), ClientKey: a.file("client.key")}
	client := newTestClient(t, Options{Registries: map[string]Settings{address: settings}, clock: systemClock{}})
	pushAndPull(t, client, Repository{address, "team/app"})
	settings.ClientCert, settings.ClientKey = "", ""
	client = newTestClient(t, Options{Registries: map[string]Settings{address: settings}})
	if err := client.CheckPush(t.Context(), Repository{address, "team/app"}); err == nil {
		t.Error("the registry took a client without a certificate")
	}
}

// testBrokenUploads has a proxy that breaks uploads off after some bytes, in the streamed request and in the chunks.
func testBrokenUploads(t *testing.T, binary string) {
	const size, limit = 24 << 20, 7 << 20
	address := startDistribution(t, binary, "")
	behind, err := url.Parse("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	var patches atomic.Int32
	var received atomic.Int64
	forward := httputil.NewSingleHostReverseProxy(behind)
	forward.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { reset(w) }
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			body := &brokenBody{ReadCloser: r.Body, left: size, received: &received}
			if patches.Add(1) <= 3 {
				body.left = limit
			}
			r.Body = body
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	to := Repository{strings.TrimPrefix(proxy.URL, "http://"), "team/app"}
	content := noise(3, size)
	client := newTestClient(t, Options{clock: systemClock{}, Retry: Retry{Base: 20 * time.Millisecond}})
	if outcome, err := client.Push(t.Context(), to, completeBlob(content), nil, nil); err != nil || outcome != Uploaded {
		t.Fatalf("Push = %q, %v", outcome, err)
	}
	if got, err := readBlob(t, client, Repository{address, "team/app"}, describe(content)); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	// What is in buffers when a connection breaks is sent twice; anything near a whole blob would be a fresh start.
	if received.Load() > size+size/3 {
		t.Errorf("sent %d bytes for a blob of %d", received.Load(), size)
	}
	t.Logf("%d requests, %d bytes for %d", patches.Load(), received.Load(), size)
}

type brokenBody struct {
	io.ReadCloser
	left     int64
	received *atomic.Int64
}

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("broken")
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	b.received.Add(int64(n))
	return n, err
}
