package base

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/registry"
)

// client is what is wanted of a registry client.
type client interface {
	Manifest(ctx context.Context, ref registry.Reference) (v1.Descriptor, []byte, error)
	Blob(ctx context.Context, repository registry.Repository, desc v1.Descriptor) (io.ReadCloser, error)
}

// OpenRemote opens an image in a registry.
func OpenRemote(ctx context.Context, c client, reference string, platform ocispec.Platform) (*Image, error) {
	ref, err := registry.ParseReference(reference)
	if err != nil {
		return nil, err
	}
	r := &remote{client: c, repository: ref.Repository}
	desc, document, err := r.get(ctx, ref)
	if err != nil {
		return nil, err
	}
	i, err := open(ctx, ref.String(), r, desc, document, platform)
	if err != nil {
		return nil, err
	}
	i.Repository = ref.Repository
	return i, nil
}

// remote is a repository in a registry.
type remote struct {
	client     client
	repository registry.Repository
}

func (r *remote) manifest(ctx context.Context, desc ocispec.Descriptor) (ocispec.Descriptor, []byte, error) {
	if err := desc.Digest.Validate(); err != nil {
		return desc, nil, fmt.Errorf("digest %q: %w", desc.Digest, err)
	}
	return r.get(ctx, r.repository.Digested(desc.Digest.String()))
}

func (r *remote) get(ctx context.Context, ref registry.Reference) (ocispec.Descriptor, []byte, error) {
	d, document, err := r.client.Manifest(ctx, ref)
	return ocispec.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size}, document, err
}

func (r *remote) blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	h, err := v1.NewHash(desc.Digest.String())
	if err != nil {
		return nil, fmt.Errorf("digest %q: %w", desc.Digest, err)
	}
	return r.client.Blob(ctx, r.repository, v1.Descriptor{MediaType: types.MediaType(desc.MediaType), Digest: h, Size: desc.Size})
}
