package artifact

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/registry"
)

// Policy says whose signatures plugins from registries need. Files and built-in plugins have none.
type Policy struct {
	// RequireSignature refuses what none of the keys signed.
	RequireSignature bool `toml:"require-signature"`
	// Keys are files of public keys, in PEM.
	Keys []string `toml:"keys"`
}

// Validate says what is wrong with a policy, if anything.
func (p Policy) Validate() error {
	if p.RequireSignature && len(p.Keys) == 0 {
		return errors.New("require-signature needs keys: name files of public keys")
	}
	return nil
}

func (p Policy) load() ([]Key, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	var keys []Key
	for _, file := range p.Keys {
		key, err := LoadKey(file)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// maxSignatures is how many referrers of a plugin are looked at, and how many signatures of each.
const maxSignatures = 32

// errUnsigned says that there is no signature at all.
var errUnsigned = errors.New("it is not signed")

// errBundle says that there is a signature, in the form that cosign 3 gives it.
var errBundle = errors.New("its signature is a Sigstore bundle, which is not read: sign with `cosign sign --new-bundle-format=false`")

// typeBundle is what the types of such signatures begin with; a version follows.
const typeBundle = "application/vnd.dev.sigstore.bundle."

// checkSignature returns the key that signed a manifest or an index: by the signatures in the store, and if there are none
// that do, by those in the repository, which are then stored.
func (s shelf) checkSignature(ctx context.Context, subject digest.Digest, keys []Key) (Key, error) {
	var kept []digest.Digest
	if s.store != nil {
		var err error
		if kept, err = s.store.About(subject); err != nil {
			return Key{}, err
		}
	}
	key, err := s.signedBy(ctx, subject, kept, keys)
	if err == nil {
		return key, nil
	}
	more, fetchErr := s.fetchSignatures(ctx, subject)
	if fetchErr != nil {
		if len(kept) > 0 {
			return Key{}, err
		}
		return Key{}, fmt.Errorf("look for its signatures: %w", fetchErr)
	}
	return s.signedBy(ctx, subject, more, keys)
}

// fetchSignatures lists the signatures in the repository: those that refer to the subject, and what has the tag under which
// cosign puts signatures unless it is told otherwise.
func (s shelf) fetchSignatures(ctx context.Context, subject digest.Digest) ([]digest.Digest, error) {
	referrers, err := s.client.Referrers(ctx, s.repository, subject)
	if err != nil {
		return nil, err
	}
	var found []digest.Digest
	for _, r := range referrers {
		if r.ArtifactType != typeSignature || r.Digest.Validate() != nil || r.Digest.Algorithm() != digest.SHA256 || len(found) == maxSignatures {
			continue
		}
		found = append(found, r.Digest)
	}
	tagged, err := s.client.Resolve(ctx, s.repository.Tagged(signatureTag(subject)))
	if errors.Is(err, registry.ErrNotFound) {
		if len(found) == 0 && s.bundled(ctx, referrers) {
			return nil, errBundle
		}
		return found, nil
	}
	if err == nil && !slices.Contains(found, tagged.Digest) {
		found = append(found, tagged.Digest)
	}
	return found, err
}

// bundled says whether one of the manifests has a Sigstore bundle. It reads them: cosign lists them under the type of their
// empty configs where a registry makes no lists.
func (s shelf) bundled(ctx context.Context, referrers []ocispec.Descriptor) bool {
	isBundle := func(l ocispec.Descriptor) bool { return strings.HasPrefix(l.MediaType, typeBundle) }
	return slices.ContainsFunc(referrers[:min(len(referrers), maxSignatures)], func(r ocispec.Descriptor) bool {
		if r.Digest.Validate() != nil {
			return false
		}
		doc, err := s.document(ctx, r.Digest)
		return err == nil && slices.ContainsFunc(doc.Layers, isBundle)
	})
}

// signatureTag is the tag under which cosign puts the signatures of a manifest or an index.
func signatureTag(subject digest.Digest) string {
	return subject.Algorithm().String() + "-" + subject.Encoded() + ".sig"
}

// keepSignatures stores all signatures of a plugin, so that it can be verified without the registry.
func (s shelf) keepSignatures(ctx context.Context, subject digest.Digest) error {
	found, err := s.fetchSignatures(ctx, subject)
	if err != nil {
		return err
	}
	for _, d := range found {
		if _, err := s.signatures(ctx, d); err != nil {
			continue // a signature that cannot be read is none
		}
		if err := s.store.Note(subject, d); err != nil {
			return err
		}
	}
	return nil
}

// signature is a text and who signed it.
type signature struct{ text, signature []byte }

// signatures reads those of a signature's manifest.
func (s shelf) signatures(ctx context.Context, d digest.Digest) ([]signature, error) {
	doc, err := s.document(ctx, d)
	if err != nil {
		return nil, err
	}
	var all []signature
	for _, l := range doc.Layers {
		encoded := l.Annotations[annotationSignature]
		if l.MediaType != typePayload || encoded == "" || len(all) == maxSignatures {
			continue
		}
		text, err := s.payload(ctx, l)
		if err != nil {
			return nil, err
		}
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			continue
		}
		all = append(all, signature{text, decoded})
	}
	return all, nil
}

func (s shelf) payload(ctx context.Context, l ocispec.Descriptor) ([]byte, error) {
	if err := l.Digest.Validate(); err != nil {
		return nil, err
	}
	return s.blob(ctx, l, maxPayload)
}

// signedBy finds a key by which one of the signatures is, and what it says.
func (s shelf) signedBy(ctx context.Context, subject digest.Digest, manifests []digest.Digest, keys []Key) (Key, error) {
	seen, failure := 0, errUnsigned
	for _, d := range manifests {
		signatures, err := s.signatures(ctx, d)
		if err != nil {
			if ctx.Err() != nil {
				return Key{}, err
			}
			failure = err
			continue
		}
		for _, sig := range signatures {
			seen++
			for _, key := range keys {
				if !key.verify(sig.text, sig.signature) {
					continue
				}
				if err := checkPayload(sig.text, subject); err != nil {
					failure = err
					continue
				}
				return key, s.note(subject, d)
			}
		}
	}
	if seen > 0 && errors.Is(failure, errUnsigned) {
		failure = fmt.Errorf("none of its %d signatures is by one of the keys %v", seen, keys)
	}
	return Key{}, failure
}

func (s shelf) note(subject, signature digest.Digest) error {
	if s.store == nil {
		return nil
	}
	return s.store.Note(subject, signature)
}

// checkPayload reads what was signed: a genuine signature of another plugin is none of this one.
func checkPayload(text []byte, subject digest.Digest) error {
	var p payload
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("what was signed is not valid JSON: %w", err)
	}
	if p.Critical.Type != payloadKind {
		return fmt.Errorf("what was signed is a %.60q", p.Critical.Type)
	}
	if p.Critical.Image.Digest != subject {
		return fmt.Errorf("the signature is for %.100q", string(p.Critical.Image.Digest))
	}
	return nil
}
