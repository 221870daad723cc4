// Package base opens images wherever they are: in registries, OCI layouts and archives. A build starts from them and copies
// from them.
package base

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/registry"
)

// maxDocument bounds a manifest, an index and a config, which are held in memory.
const maxDocument = 8 << 20

// maxDepth is how deep indexes may lie in each other.
const maxDepth = 3

// Image is an image of which the documents were read. Its layers are read when somebody wants them.
type Image struct {
	image.Base
	// Digest is the manifest's, or the index's where the reference named one.
	Digest digest.Digest
	// Repository is where the blobs can be mounted from; the zero value if the image is in no registry.
	Repository registry.Repository

	place place
}

// place is where an image's manifests and blobs are.
type place interface {
	// manifest returns a manifest or an index by its digest, verified.
	manifest(ctx context.Context, desc ocispec.Descriptor) (ocispec.Descriptor, []byte, error)
	// blob opens a blob at an offset. From its start on, what it yields is verified to the last byte.
	blob(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error)
}

// Open opens a layer's blob, as it is: compressed. The bytes are verified while they are read: the read that meets the
// end fails if they were not those of the descriptor.
func (i *Image) Open(ctx context.Context, layer ocispec.Descriptor) (io.ReadCloser, error) {
	return i.place.blob(ctx, layer, 0)
}

// open reads the documents of an image from a manifest or an index that was found under name.
func open(ctx context.Context, name string, at place, desc ocispec.Descriptor, document []byte, platform ocispec.Platform) (*Image, error) {
	top := desc.Digest
	for depth := 0; IsIndex(desc.MediaType); depth++ {
		if depth == maxDepth {
			return nil, fmt.Errorf("open %q: indexes are nested too deeply", name)
		}
		chosen, err := choose(name, document, platform)
		if err != nil {
			return nil, err
		}
		if desc, document, err = at.manifest(ctx, chosen); err != nil {
			return nil, err
		}
	}
	manifest, err := image.ParseManifest(name, desc.MediaType, document)
	if err != nil {
		return nil, err
	}
	config, err := readBlob(ctx, at, manifest.Config)
	if err != nil {
		return nil, fmt.Errorf("read config of %q: %w", name, err)
	}
	b, err := image.ParseBase(name, manifest, config)
	if err != nil {
		return nil, err
	}
	return &Image{Base: *b, Digest: top, place: at}, nil
}

// IsIndex says whether a media type is that of an index.
func IsIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == image.MediaTypeDockerIndex
}

// choose finds the manifest for a platform in an index: the best match, as containerd ranks them.
func choose(name string, document []byte, platform ocispec.Platform) (ocispec.Descriptor, error) {
	var index ocispec.Index
	if err := image.ParseJSON(document, &index); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("read index of %q: %w", name, err)
	}
	match := platforms.Only(platform)
	var best *ocispec.Descriptor
	var offered []string
	for i := range index.Manifests {
		m := &index.Manifests[i]
		switch {
		case m.Platform == nil:
			if len(index.Manifests) == 1 {
				return *m, nil
			}
			continue
		case m.Platform.OS == "unknown":
			continue // an attestation
		}
		offered = append(offered, platforms.Format(*m.Platform))
		if match.Match(*m.Platform) && (best == nil || match.Less(*m.Platform, *best.Platform)) {
			best = m
		}
	}
	if best == nil {
		return ocispec.Descriptor{}, fmt.Errorf("open %q: no image for platform %s: there are %q", name, platforms.Format(platform), offered)
	}
	return *best, nil
}

func readBlob(ctx context.Context, at place, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > maxDocument {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that are read", desc.Digest, desc.Size, maxDocument)
	}
	r, err := at.blob(ctx, desc, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
