package base

import (
	"context"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/registry"
)

// client is what is wanted of a registry client.
type client interface {
	Manifest(ctx context.Context, ref registry.Reference) (ocispec.Descriptor, []byte, error)
	Blob(ctx context.Context, repository registry.Repository, desc ocispec.Descriptor) (io.ReadCloser, error)
	BlobFrom(ctx context.Context, repository registry.Repository, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error)
}

// OpenRemote opens an image in a registry.
func OpenRemote(ctx context.Context, c client, reference string, platform ocispec.Platform) (*Image, error) {
	s, err := openRemote(ctx, c, reference)
	if err != nil {
		return nil, err
	}
	return s.Image(ctx, platform)
}

func openRemote(ctx context.Context, c client, reference string) (*Source, error) {
	ref, err := registry.ParseReference(reference)
	if err != nil {
		return nil, err
	}
	r := &remote{client: c, repository: ref.Repository}
	desc, document, err := r.get(ctx, ref)
	if err != nil {
		return nil, err
	}
	return &Source{Name: ref.String(), Top: desc, Document: document, Reference: ref, place: r}, nil
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
	return r.client.Manifest(ctx, ref)
}

func (r *remote) blob(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if offset > 0 {
		return r.client.BlobFrom(ctx, r.repository, desc, offset)
	}
	return r.client.Blob(ctx, r.repository, desc)
}
