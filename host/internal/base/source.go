package base

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/registry"
)

// The schemes of references to images that are in no registry.
const (
	SchemeLayout        = "oci-layout://"     // DIR[:TAG][@DIGEST]
	SchemeOCIArchive    = "oci-archive://"    // FILE[:TAG][@DIGEST]
	SchemeDockerArchive = "docker-archive://" // FILE[:NAME]
	schemeImage         = "docker-image://"
)

// Schemes lists them, for messages.
func Schemes() []string { return []string{SchemeLayout, SchemeOCIArchive, SchemeDockerArchive} }

// Source is what a reference names, wherever that is: a manifest or an index, and the way to all that it refers to.
type Source struct {
	// Name is the reference as errors show it.
	Name string
	// Top is the manifest or index, and Document its bytes, verified.
	Top      ocispec.Descriptor
	Document []byte
	// Reference is the registry's; the zero value if the source is in none.
	Reference registry.Reference

	place place
	close func() error
}

// OpenSource opens what a reference names: an image in a registry, or one of [Schemes].
func OpenSource(ctx context.Context, c client, reference string) (*Source, error) {
	scheme, rest, found := strings.Cut(reference, "://")
	if !found {
		return openRemote(ctx, c, reference)
	}
	switch scheme + "://" {
	case schemeImage:
		return openRemote(ctx, c, rest)
	case SchemeLayout:
		return openLayoutDirectory(ctx, rest)
	case SchemeOCIArchive:
		return openOCIArchive(ctx, rest)
	case SchemeDockerArchive:
		return openDockerArchive(ctx, rest)
	}
	return nil, fmt.Errorf("open image %q: unknown scheme %q: a registry's image is named without one, others with %s",
		reference, scheme, strings.Join(Schemes(), ", "))
}

// Close gives up the source and all images that were opened from it.
func (s *Source) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

// Image reads the image for a platform.
func (s *Source) Image(ctx context.Context, platform ocispec.Platform) (*Image, error) {
	i, err := open(ctx, s.Name, s.place, s.Top, s.Document, platform)
	if err != nil {
		return nil, err
	}
	i.Repository = s.Reference.Repository
	return i, nil
}

// Choose gives the manifest for a platform out of an index, or the top manifest if that is of an image.
func (s *Source) Choose(ctx context.Context, platform ocispec.Platform) (ocispec.Descriptor, []byte, error) {
	desc, document := s.Top, s.Document
	for depth := 0; IsIndex(desc.MediaType); depth++ {
		if depth == maxDepth {
			return desc, nil, fmt.Errorf("open %q: indexes are nested too deeply", s.Name)
		}
		chosen, err := choose(s.Name, document, platform)
		if err != nil {
			return desc, nil, err
		}
		if desc, document, err = s.Manifest(ctx, chosen); err != nil {
			return desc, nil, err
		}
	}
	return desc, document, nil
}

// Manifest reads a manifest or an index that another one lists, verified.
func (s *Source) Manifest(ctx context.Context, desc ocispec.Descriptor) (ocispec.Descriptor, []byte, error) {
	return s.place.manifest(ctx, desc)
}

// Blob opens a blob at an offset. From its start on it is verified as by [Image.Open]; from elsewhere it cannot be.
func (s *Source) Blob(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	return s.place.blob(ctx, desc, offset)
}

func openOCIArchive(ctx context.Context, reference string) (*Source, error) {
	file, tag, want := splitLayout(reference)
	if isFile(reference) {
		file, tag, want = reference, "", ""
	}
	a, err := openArchive(file)
	if err != nil {
		return nil, err
	}
	return openLayout(ctx, &layout{name: fmt.Sprintf("OCI archive %q", file), files: a}, SchemeOCIArchive+reference, tag, want)
}

// isFile says whether a reference is the name of a file as a whole, whatever colons it has.
func isFile(reference string) bool {
	info, err := os.Stat(reference)
	return err == nil && !info.IsDir()
}

// IsScheme says whether a reference starts with one of [Schemes], and gives the scheme and the rest.
func IsScheme(reference string) (scheme, rest string, ok bool) {
	i := slices.IndexFunc(Schemes(), func(s string) bool { return strings.HasPrefix(reference, s) })
	if i < 0 {
		return "", reference, false
	}
	scheme = Schemes()[i]
	return scheme, reference[len(scheme):], true
}
