package image

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/platforms"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// AssembleIndex makes the index above the manifests of one image for several platforms, in the order given. Each
// descriptor names its platform, and no two the same.
func AssembleIndex(format Format, manifests []ocispec.Descriptor, annotations Annotations) (Document, error) {
	if format == "" {
		format = OCI
	}
	if len(manifests) == 0 {
		return Document{}, errors.New("write index: it would list no image")
	}
	seen := map[string]bool{}
	for _, m := range manifests {
		if m.MediaType != format.manifestType() {
			return Document{}, fmt.Errorf("write index: %s has media type %q in an index of the %s format", m.Digest, m.MediaType, format)
		}
		if m.Platform == nil {
			return Document{}, fmt.Errorf("write index: %s has no platform", m.Digest)
		}
		p := platforms.FormatAll(platforms.Normalize(*m.Platform))
		if seen[p] {
			return Document{}, fmt.Errorf("write index: two images for platform %q", p)
		}
		seen[p] = true
	}
	if format == Docker && len(annotations) > 0 {
		return Document{}, fmt.Errorf("annotation %q: Docker's media types have no annotations: use the OCI format", annotations[0].Key)
	}
	document, err := json.MarshalIndent(ocispec.Index{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   format.indexType(),
		Manifests:   manifests,
		Annotations: annotations.For(OnIndex, nil),
	}, "", "  ")
	if err != nil {
		return Document{}, fmt.Errorf("write index: %w", err)
	}
	index := newDocument(format.indexType(), document)
	index.Descriptor.Annotations = annotations.For(OnIndexDescriptor, nil)
	return index, nil
}
