package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Referrers lists the manifests that name another one as their subject, such as its signatures. A registry that keeps no
// such lists has one under the tag "sha256-HEX" (distribution specification, "Unavailable Referrers API"). An empty list is
// no error. What is listed may be anything: only what [Client.Manifest] returns is verified.
func (c *Client) Referrers(ctx context.Context, repository Repository, subject digest.Digest) ([]ocispec.Descriptor, error) {
	if err := subject.Validate(); err != nil {
		return nil, fmt.Errorf("list referrers of %q: %w", repository.String()+"@"+tidy(string(subject), 100), err)
	}
	all, err := pull(ctx, c, repository, func(src source) ([]ocispec.Descriptor, error) {
		found, err := src.referrers(ctx, subject)
		if err == nil && len(found) == 0 && src.mirror {
			err = ErrNotFound // it need not mirror them
		}
		return found, err
	})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return all, err
}

func (s source) referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	t := task{op: "list referrers", ref: s.repository.String() + "@" + subject.String()}
	if s.mirror {
		t.tries = 1
	}
	resp, err := s.call(ctx, t, &request{
		method: http.MethodGet, url: s.url(s.repository, "referrers/"+subject.String()),
		header: http.Header{"Accept": {ocispec.MediaTypeImageIndex}}, access: access{repository: s.repository.Path},
	}, http.StatusOK)
	if err != nil {
		// Registries without the endpoint answer 404, and older ones whatever comes to their mind.
		if e, ok := errors.AsType[*Error](err); !ok || e.Status < 400 || e.Status >= 500 || passingStatus(e.Status) || errors.Is(err, ErrDenied) {
			return nil, err
		}
		return s.taggedReferrers(ctx, subject)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	resp.Body.Close()
	if err != nil {
		return nil, &Error{Op: t.op, Ref: t.ref, Err: err}
	}
	if contentType(resp) != ocispec.MediaTypeImageIndex {
		return s.taggedReferrers(ctx, subject)
	}
	var index ocispec.Index
	if len(raw) > maxManifest || json.Unmarshal(raw, &index) != nil {
		return nil, &Error{Op: t.op, Ref: t.ref, Err: errors.New("the list is no index, or too long")}
	}
	return index.Manifests, nil
}

// taggedReferrers reads the list that is kept under a tag. The error is [ErrNotFound] where there is none.
func (s source) taggedReferrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	m, err := s.manifest(ctx, s.repository.Tagged(referrersTag(subject)))
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if m.descriptor.MediaType != ocispec.MediaTypeImageIndex || json.Unmarshal(m.raw, &index) != nil {
		return nil, nil // a tag of that name for something else
	}
	return index.Manifests, nil
}

// referrersTag is the tag that lists the referrers of a manifest.
func referrersTag(subject digest.Digest) string {
	return strings.Replace(subject.String(), ":", "-", 1)
}

// PutReferrer stores a manifest that names another one of the repository as its subject, and lists it where the registry
// does not do so itself.
func (c *Client) PutReferrer(ctx context.Context, repository Repository, subject digest.Digest, referrer ocispec.Descriptor, raw []byte) error {
	header, err := c.putManifest(ctx, repository.Digested(referrer.Digest.String()), referrer.MediaType, raw)
	if err != nil {
		return err
	}
	if header.Get("OCI-Subject") == subject.String() {
		return nil
	}
	h, err := c.host(repository.Registry)
	if err != nil {
		return err
	}
	listed, err := source{host: h, repository: repository, last: true}.taggedReferrers(ctx, subject)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if slices.ContainsFunc(listed, func(d ocispec.Descriptor) bool { return d.Digest == referrer.Digest }) {
		return nil
	}
	list, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: append(listed, referrer),
	})
	if err != nil {
		return err
	}
	return c.PutManifest(ctx, repository.Tagged(referrersTag(subject)), ocispec.MediaTypeImageIndex, list)
}
