//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// tokenLife is how long tokens live, and passwords where they are for one time only.
	tokenLife = 20 * time.Second
	// leeway is how much longer the registry takes a token than the token says.
	leeway = 60 * time.Second
)

// passwords says what becomes of the passwords that are asked for.
type passwords int

const (
	lasting  passwords = iota // one, which is good for as long as the job
	oneTime                   // another one each time, good for tokenLife
	onlyOnce                  // always the first one, good for tokenLife
)

// authority is a token server, and whoever gives out the passwords that it takes.
type authority struct {
	*httptest.Server
	key         *ecdsa.PrivateKey
	certificate []byte
	passwords   passwords
	telling     map[string]any // what an answer has beside the token

	mu      sync.Mutex
	issued  map[string]time.Time // passwords, and when they end
	given   []string             // in order
	tokens  map[string]time.Time // when they were made
	refused int                  // requests for a token
}

func newAuthority(t *testing.T, kind passwords, telling map[string]any) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "token server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{
		key: key, certificate: certificate, passwords: kind, telling: telling,
		issued: map[string]time.Time{}, tokens: map[string]time.Time{},
	}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// configuration is what the registry is told of the token server.
func (a *authority) configuration(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token-server.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate})
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("auth: {token: {realm: %q, service: lab, issuer: lab, rootcertbundle: %q}}\n", a.URL+"/token", file)
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/password" {
		fmt.Fprint(w, a.password())
		return
	}
	user, password, _ := r.BasicAuth()
	if !a.takes(password) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"the password is wrong or has expired"}]}`)
		return
	}
	token, err := a.token(user, r.FormValue("service"), r.URL.Query()["scope"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	a.mu.Lock()
	a.tokens[token] = time.Now()
	a.mu.Unlock()
	answer := map[string]any{"token": token}
	for key, value := range a.telling {
		answer[key] = value
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// password is what somebody who asks is given.
func (a *authority) password() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.given) > 0 && a.passwords != oneTime {
		a.given = append(a.given, a.given[0])
		return a.given[0]
	}
	life := tokenLife
	if a.passwords == lasting {
		life = time.Hour
	}
	password := "pw-" + rand.Text()
	a.issued[password] = time.Now().Add(life)
	a.given = append(a.given, password)
	return password
}

func (a *authority) takes(password string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Now().Before(a.issued[password]) {
		return true
	}
	a.refused++
	return false
}

// token makes a token that the registry takes for tokenLife: what it would add is taken off before.
func (a *authority) token(user, service string, scopes []string) (string, error) {
	type grant struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	access := []grant{}
	for _, scope := range strings.Fields(strings.Join(scopes, " ")) {
		kind, rest, _ := strings.Cut(scope, ":")
		at := strings.LastIndex(rest, ":")
		if at < 0 {
			return "", fmt.Errorf("scope %q", scope)
		}
		access = append(access, grant{kind, rest[:at], strings.Split(rest[at+1:], ",")})
	}
	now := time.Now()
	head, err := json.Marshal(map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(a.certificate)}})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{
		"iss": "lab", "sub": user, "aud": service, "jti": rand.Text(), "access": access,
		"iat": now.Unix(), "nbf": now.Add(-leeway).Unix(), "exp": now.Add(tokenLife - leeway).Unix(),
	})
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(signed))
	x, y, err := ecdsa.Sign(rand.Reader, a.key, sum[:])
	if err != nil {
		return "", err
	}
	signature := append(x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))...)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// itself is the test's own way into the registry.
type itself struct{ *authority }

// RoundTrip sends a request with a token of its own.
func (i itself) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := i.token("test", "lab", []string{"repository:library/base:pull,push", "repository:team/app:pull"})
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return http.DefaultTransport.RoundTrip(r)
}

// age is how old a token is.
func (a *authority) age(token string) (time.Duration, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	made, ok := a.tokens[token]
	return time.Since(made), ok
}

// secrets are the passwords that were given out and the signatures of the tokens.
func (a *authority) secrets() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := append([]string(nil), a.given...)
	for token := range a.tokens {
		all = append(all, token[strings.LastIndex(token, ".")+1:])
	}
	return all
}
