package artifact

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/plugin/lock"
)

// pair is a key pair in files.
type pair struct{ private, public string }

func keyPair(t *testing.T, kind string) pair {
	t.Helper()
	var private, public any
	var err error
	switch kind {
	case "ed25519":
		public, private, err = ed25519.GenerateKey(rand.Reader)
	case "rsa":
		var k *rsa.PrivateKey
		k, err = rsa.GenerateKey(rand.Reader, 2048)
		private, public = k, k.Public()
	default:
		curve := map[string]elliptic.Curve{"p224": elliptic.P224(), "p256": elliptic.P256(), "sec1": elliptic.P256(), "p384": elliptic.P384()}[kind]
		var k *ecdsa.PrivateKey
		k, err = ecdsa.GenerateKey(curve, rand.Reader)
		private, public = k, k.Public()
	}
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	block := "PRIVATE KEY"
	if kind == "sec1" {
		der, err = x509.MarshalECPrivateKey(private.(*ecdsa.PrivateKey))
		block = "EC PRIVATE KEY"
	}
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := pair{filepath.Join(dir, "key.pem"), filepath.Join(dir, "key.pub")}
	for file, b := range map[string]*pem.Block{p.private: {Type: block, Bytes: der}, p.public: {Type: "PUBLIC KEY", Bytes: spki}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p pair) signer(t *testing.T) *Signer {
	t.Helper()
	s, err := LoadSigner(p.private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p pair) key(t *testing.T) Key {
	t.Helper()
	k, err := LoadKey(p.public)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func require(p ...pair) Policy {
	policy := Policy{RequireSignature: true}
	for _, k := range p {
		policy.Keys = append(policy.Keys, k.public)
	}
	return policy
}

// TestSigned pushes with a signature and installs by a policy, in registries with and without lists of referrers. What is
// installed is verified without a network.
func TestSigned(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ed25519", "p256", "p384", "sec1"} {
		for _, lists := range []bool{true, false} {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				s := serve(t, ggcr.WithReferrersSupport(lists))
				keys, others := keyPair(t, kind), keyPair(t, "p256")
				r := Request{Name: "demo", Source: s.source(":1")}
				for _, by := range []pair{others, keys, keys} { // signing twice adds
					if _, err := client(t, Options{}).Push(t.Context(), r.Source, [][]byte{wasm(t, "1")}, PushOptions{Signer: by.signer(t)}); err != nil {
						t.Fatal(err)
					}
				}
				c := client(t, Options{Policy: require(keyPair(t, "ed25519"), keys)})
				in, locked := install(t, c, r, lock.File{}, Keep)
				if in.SignedBy != keys.public {
					t.Errorf("signed by %q", in.SignedBy)
				}
				if _, _, by, err := c.VerifyReference(t.Context(), r.Source, nil); err != nil || by != keys.public {
					t.Errorf("VerifyReference = %q, %v", by, err)
				}
				s.Close()
				if _, err := c.Resolve(t.Context(), r, locked, lock.Frozen); err != nil {
					t.Errorf("without a network: %v", err)
				}
				if _, by, err := c.Verify(t.Context(), r, locked, []Key{others.key(t)}); err != nil || by != others.public {
					t.Errorf("by the other key: Verify = %q, %v", by, err)
				}
				_, _, err := c.Verify(t.Context(), r, locked, []Key{keyPair(t, "p256").key(t)})
				wantError(t, err, "signatures is by one of the keys")
			})
		}
	}
}

// TestUnsigned refuses, where the policy insists, all that is no signature of this plugin by one of the keys.
func TestUnsigned(t *testing.T) {
	t.Parallel()
	keys := keyPair(t, "ed25519")
	for name, tt := range map[string]struct {
		sign func(*testing.T, *server, *Client) // what there is instead
		want string
	}{
		"nothing":     {func(*testing.T, *server, *Client) {}, "it is not signed"},
		"another key": {func(t *testing.T, s *server, c *Client) { signAs(t, s, c, keyPair(t, "ed25519"), nil) }, "none of its 1 signatures is by one of the keys"},
		"another plugin": {func(t *testing.T, s *server, c *Client) {
			signAs(t, s, c, keys, func(p *payload) { p.Critical.Image.Digest = "sha256:1234" })
		}, `the signature is for "sha256:1234"`},
		"another purpose": {func(t *testing.T, s *server, c *Client) {
			signAs(t, s, c, keys, func(p *payload) { p.Critical.Type = "atomic container signature" })
		}, `what was signed is a "atomic`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			r := Request{Name: "demo", Source: s.source(":1")}
			push(t, r.Source, wasm(t, "1"))
			c := client(t, Options{Policy: require(keys)})
			tt.sign(t, s, c)
			_, err := c.Install(t.Context(), r, lock.File{}, Keep)
			wantError(t, err, tt.want, "verify sha256:")
			_, _, _, err = c.VerifyReference(t.Context(), r.Source, nil)
			wantError(t, err, tt.want)
			// Who does not insist is told, and installs.
			lax := client(t, Options{Policy: Policy{Keys: []string{keys.public}}})
			in, locked := install(t, lax, r, lock.File{}, Keep)
			wantError(t, in.Unverified, tt.want)
			// What was installed so is refused by who does insist.
			strict := client(t, Options{Policy: require(keys), Store: lax.options.Store})
			_, err = strict.Resolve(t.Context(), r, locked, lock.Open)
			wantError(t, err, tt.want)
			free := client(t, Options{})
			if in, _ := install(t, free, r, lock.File{}, Keep); in.Unverified != nil || in.SignedBy != "" {
				t.Errorf("without a policy: %v, %q", in.Unverified, in.SignedBy)
			}
		})
	}
}

// signAs signs a changed payload for what the tag 1 names.
func signAs(t *testing.T, s *server, c *Client, by pair, change func(*payload)) {
	t.Helper()
	ref, err := parseReference(s.source(":1"))
	if err != nil {
		t.Fatal(err)
	}
	top, err := c.registry.Resolve(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if change == nil {
		change = func(*payload) {}
	}
	if err := c.signPayload(t.Context(), ref.Repository, top, by.signer(t), change); err != nil {
		t.Fatal(err)
	}
}

// TestBundle names what it does not read.
func TestBundle(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := Request{Name: "demo", Source: s.source(":1")}
	push(t, r.Source, wasm(t, "1"))
	c := client(t, Options{Policy: require(keyPair(t, "p256"))})
	ref, err := parseReference(r.Source)
	if err != nil {
		t.Fatal(err)
	}
	top, err := c.registry.Resolve(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := pushBlob(t.Context(), c.registry, ref.Repository, []byte("{}"), "application/vnd.dev.sigstore.bundle.v0.3+json")
	if err != nil {
		t.Fatal(err)
	}
	config := layer
	config.MediaType = ocispec.MediaTypeEmptyJSON
	d, raw, err := encode(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config,
		Layers: []ocispec.Descriptor{layer}, Subject: &top,
	}, ocispec.MediaTypeImageManifest)
	if err != nil {
		t.Fatal(err)
	}
	d.ArtifactType = config.MediaType // as cosign lists it
	if err := c.registry.PutReferrer(t.Context(), ref.Repository, top.Digest, d, raw); err != nil {
		t.Fatal(err)
	}
	_, err = c.Install(t.Context(), r, lock.File{}, Keep)
	wantError(t, err, "its signature is a Sigstore bundle", "--new-bundle-format=false")
}

// TestTaggedSignature finds a signature where cosign puts it: nothing refers to the plugin, a tag is all. To sign again leaves it
// there.
func TestTaggedSignature(t *testing.T) {
	t.Parallel()
	s := serve(t)
	theirs, ours := keyPair(t, "p256"), keyPair(t, "ed25519")
	r := Request{Name: "demo", Source: s.source(":1")}
	push(t, r.Source, wasm(t, "1"))
	c := client(t, Options{Policy: require(theirs)})
	ref, err := parseReference(r.Source)
	if err != nil {
		t.Fatal(err)
	}
	top, err := c.registry.Resolve(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(`{"critical":{"identity":{"docker-reference":"x"},"image":{"docker-manifest-digest":"` + top.Digest.String() +
		`"},"type":"cosign container image signature"},"optional":null}`)
	signature, err := theirs.signer(t).sign(text)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := pushBlob(t.Context(), c.registry, ref.Repository, text, typePayload)
	if err != nil {
		t.Fatal(err)
	}
	layer.Annotations = map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(signature)}
	config, err := pushBlob(t.Context(), c.registry, ref.Repository, []byte("{}"), ocispec.MediaTypeImageConfig)
	if err != nil {
		t.Fatal(err)
	}
	d, raw, err := encode(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer},
	}, ocispec.MediaTypeImageManifest)
	if err != nil {
		t.Fatal(err)
	}
	tag := ref.Repository.Tagged(strings.Replace(top.Digest.String(), ":", "-", 1) + ".sig")
	if err := c.registry.PutManifest(t.Context(), tag, d.MediaType, raw); err != nil {
		t.Fatal(err)
	}
	signAs(t, s, c, ours, nil)
	in, locked := install(t, c, r, lock.File{}, Keep)
	if in.SignedBy != theirs.public {
		t.Errorf("signed by %q", in.SignedBy)
	}
	if _, by, err := c.Verify(t.Context(), r, locked, []Key{ours.key(t)}); err != nil || by != ours.public {
		t.Errorf("by the other key: Verify = %q, %v", by, err)
	}
	s.Close()
	if _, err := c.Resolve(t.Context(), r, locked, lock.Frozen); err != nil {
		t.Errorf("without a network: %v", err)
	}
}

// TestLateSignature finds the signature that was made after the installation, and one that was lost from the store.
func TestLateSignature(t *testing.T) {
	t.Parallel()
	s := serve(t)
	keys := keyPair(t, "p256")
	r := Request{Name: "demo", Source: s.source(":1")}
	push(t, r.Source, wasm(t, "1"))
	st := newStore(t)
	_, locked := install(t, client(t, Options{Store: st}), r, lock.File{}, Keep)
	strict := client(t, Options{Store: st, Policy: require(keys)})
	_, err := strict.Resolve(t.Context(), r, locked, lock.Open)
	wantError(t, err, "it is not signed")
	signAs(t, s, strict, keys, nil)
	for range 2 {
		if _, err := strict.Resolve(t.Context(), r, locked, lock.Open); err != nil {
			t.Fatal(err)
		}
	}
	denied := func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true }
	s.intercept.Store(&denied)
	if _, err := strict.Resolve(t.Context(), r, locked, lock.Open); err != nil {
		t.Errorf("from the store: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(st.Dir(), "about")); err != nil {
		t.Fatal(err)
	}
	_, err = strict.Resolve(t.Context(), r, locked, lock.Open)
	wantError(t, err, "look for its signatures")
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"rsa", "p224"} {
		p := keyPair(t, kind)
		_, err := LoadKey(p.public)
		wantError(t, err, "neither of Ed25519 nor of ECDSA", p.public)
		_, err = LoadSigner(p.private)
		wantError(t, err, "neither of Ed25519 nor of ECDSA", p.private)
	}
	p := keyPair(t, "ed25519")
	_, err := LoadKey(p.private)
	wantError(t, err, "no PEM block PUBLIC KEY")
	_, err = LoadSigner(p.public)
	wantError(t, err, `a PEM block "PUBLIC KEY" cannot be used`)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = LoadKey(empty)
	wantError(t, err, empty)
	for _, policy := range []Policy{{RequireSignature: true}, {Keys: []string{"/nonexistent"}}} {
		if _, err := New(Options{Policy: policy}); err == nil {
			t.Errorf("%+v passes", policy)
		}
	}
	// An error about a key shows nothing of it.
	text, err := os.ReadFile(p.private)
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(string(text), "MC4C", "MC4D", 1)
	if err := os.WriteFile(p.private, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSigner(p.private); err == nil || strings.Contains(err.Error(), strings.Split(broken, "\n")[1]) {
		t.Errorf("LoadSigner = %v", err)
	}
}
