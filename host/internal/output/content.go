package output

import (
	"context"
	"io"
	"maps"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Content is a manifest or an index with all that it refers to, whatever that is. It is written as it is, unlike an
// [Image], of which the parts are known.
type Content struct {
	Top   ocispec.Descriptor
	Tag   string
	Blobs []Blob // each once, Top's among them
}

// WriteContentDirectory puts the content into an OCI layout, as [WriteOCIDirectory] does with an image.
func WriteContentDirectory(ctx context.Context, dir string, c Content) error {
	return writeDirectory(ctx, dir, c.entries(), c.Blobs)
}

// WriteContentArchive writes the content as a tar of an OCI layout.
func WriteContentArchive(ctx context.Context, w io.Writer, c Content) error {
	return writeArchive(ctx, w, c.entries(), nil, c.Blobs)
}

func (c Content) entries() []ocispec.Descriptor {
	top := c.Top
	top.Annotations = maps.Clone(top.Annotations)
	if top.Annotations == nil {
		top.Annotations = map[string]string{}
	}
	top.Annotations[ocispec.AnnotationRefName] = c.Tag
	return []ocispec.Descriptor{top}
}

// ToFile calls write with the file dest, which comes into being when write is done, or with standard output for "-".
func ToFile(dest string, stdout io.Writer, write func(io.Writer) error) error {
	return toFile(dest, stdout, write)
}
