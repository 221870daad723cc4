package artifact

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/registry"
)

// A signature has the form that cosign made known: a manifest with the plugin's as its subject, whose one layer is the
// signed text, with the signature in an annotation.
const (
	typeSignature       = "application/vnd.dev.cosign.artifact.sig.v1+json"
	typePayload         = "application/vnd.dev.cosign.simplesigning.v1+json"
	annotationSignature = "dev.cosignproject.cosign/signature"
	payloadKind         = "cosign container image signature"
	maxPayload          = 64 << 10
)

// payload is the text that is signed ("simple signing"). The reference in it is not believed: a mirror has another.
type payload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest digest.Digest `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

// Key is a public key whose signatures are trusted.
type Key struct {
	public crypto.PublicKey
	name   string
}

// String is the name of the key's file.
func (k Key) String() string { return k.name }

// LoadKey reads a public key: Ed25519, or ECDSA on the curve P-256 or P-384, in PEM.
func LoadKey(file string) (Key, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Key{}, fmt.Errorf("read public key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return Key{}, fmt.Errorf("read public key %q: it holds no PEM block PUBLIC KEY", file)
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err == nil {
		err = checkKey(public)
	}
	if err != nil {
		return Key{}, fmt.Errorf("read public key %q: %w", file, err)
	}
	return Key{public, file}, nil
}

func checkKey(public crypto.PublicKey) error {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
	}
	return errors.New("it is neither of Ed25519 nor of ECDSA on P-256 or P-384")
}

// verify says whether a signature of the text is by the key.
func (k Key) verify(text, signature []byte) bool {
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(public, text, signature)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(text)
		return ecdsa.VerifyASN1(public, sum[:], signature)
	}
	return false
}

// Signer is a private key.
type Signer struct{ private crypto.Signer }

// LoadSigner reads a private key: the counterpart of [LoadKey], as PKCS #8 or SEC 1, in PEM, without a passphrase.
func LoadSigner(file string) (*Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	var private any
	switch block, _ := pem.Decode(text); {
	case block == nil:
		return nil, fmt.Errorf("read private key %q: it holds no PEM block", file)
	case block.Type == "PRIVATE KEY":
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		private, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		err = fmt.Errorf("a PEM block %q cannot be used, only PRIVATE KEY and EC PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("read private key %q: %w", file, err)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("read private key %q: it cannot sign", file)
	}
	if err := checkKey(signer.Public()); err != nil {
		return nil, fmt.Errorf("read private key %q: %w", file, err)
	}
	return &Signer{signer}, nil
}

func (s *Signer) sign(text []byte) ([]byte, error) {
	if private, ok := s.private.(ed25519.PrivateKey); ok {
		return ed25519.Sign(private, text), nil
	}
	sum := sha256.Sum256(text)
	return s.private.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// sign signs a manifest or an index, and pushes the signature beside it.
func (c *Client) sign(ctx context.Context, to registry.Repository, top ocispec.Descriptor, signer *Signer) error {
	return c.signPayload(ctx, to, top, signer, func(*payload) {})
}

func (c *Client) signPayload(ctx context.Context, to registry.Repository, top ocispec.Descriptor, signer *Signer, finish func(*payload)) error {
	var p payload
	p.Critical.Identity.Reference, p.Critical.Image.Digest, p.Critical.Type = to.String(), top.Digest, payloadKind
	finish(&p)
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	signature, err := signer.sign(text)
	if err != nil {
		return err
	}
	layer, err := pushBlob(ctx, c.registry, to, text, typePayload)
	if err != nil {
		return err
	}
	config, err := pushBlob(ctx, c.registry, to, []byte("{}"), typeSignature)
	if err != nil {
		return err
	}
	layer.Annotations = map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(signature)}
	top.Platform, top.Annotations = nil, nil
	d, raw, err := encode(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: typeSignature,
		Config: config, Layers: []ocispec.Descriptor{layer}, Subject: &top,
	}, ocispec.MediaTypeImageManifest)
	if err != nil {
		return err
	}
	d.ArtifactType = typeSignature
	if err := c.registry.PutReferrer(ctx, to, top.Digest, d, raw); err != nil {
		return err
	}
	// cosign looks under a tag, where the signatures of others may be: those stay.
	tag := to.Tagged(signatureTag(top.Digest))
	if _, err := c.registry.Resolve(ctx, tag); !errors.Is(err, registry.ErrNotFound) {
		return err
	}
	return c.registry.PutManifest(ctx, tag, d.MediaType, raw)
}
