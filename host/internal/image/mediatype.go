package image

import (
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Format is the family of media types that an image is written with.
type Format string

// The formats of an image.
const (
	OCI    Format = "oci"    // the default, as BuildKit's since 0.32
	Docker Format = "docker" // Docker's image manifest version 2, schema 2
)

// Docker's media types. Those of OCI are in [ocispec].
const (
	MediaTypeDockerManifest  = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerIndex     = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerConfig    = "application/vnd.docker.container.image.v1+json"
	MediaTypeDockerLayer     = "application/vnd.docker.image.rootfs.diff.tar"
	MediaTypeDockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// mediaTypeDockerLayerZstd was never specified, but containerd and BuildKit wrote it.
const mediaTypeDockerLayerZstd = "application/vnd.docker.image.rootfs.diff.tar.zstd"

// Compression is how a layer's blob is compressed, as its media type says.
type Compression string

// The compressions of a layer.
const (
	Uncompressed Compression = "uncompressed"
	Gzip         Compression = "gzip"
	Zstd         Compression = "zstd"
)

// LayerCompression says how a layer of the media type is compressed. It is an error for a media type that is no layer
// Trowel can use.
func LayerCompression(mediaType string) (Compression, error) {
	switch mediaType {
	case ocispec.MediaTypeImageLayer, MediaTypeDockerLayer:
		return Uncompressed, nil
	case ocispec.MediaTypeImageLayerGzip, MediaTypeDockerLayerGzip:
		return Gzip, nil
	case ocispec.MediaTypeImageLayerZstd, mediaTypeDockerLayerZstd:
		return Zstd, nil
	}
	switch {
	case strings.Contains(mediaType, ".foreign.") || strings.Contains(mediaType, ".nondistributable."):
		return "", fmt.Errorf("layers of media type %q are not stored in registries, as those of Windows images: use a Linux image", mediaType)
	case strings.HasSuffix(mediaType, "+encrypted"):
		return "", fmt.Errorf("layers of media type %q are encrypted: decrypt the image first", mediaType)
	}
	return "", fmt.Errorf("layers of media type %q are not supported: OCI and Docker layers, plain, gzip or zstd, are", mediaType)
}

// LayerMediaType is the media type of a layer of the format. Docker's format has none for zstd.
func LayerMediaType(format Format, compression Compression) (string, error) {
	types := map[Compression]string{
		Uncompressed: ocispec.MediaTypeImageLayer, Gzip: ocispec.MediaTypeImageLayerGzip, Zstd: ocispec.MediaTypeImageLayerZstd,
	}
	if format == Docker {
		types = map[Compression]string{Uncompressed: MediaTypeDockerLayer, Gzip: MediaTypeDockerLayerGzip}
	}
	if t, ok := types[compression]; ok {
		return t, nil
	}
	return "", fmt.Errorf("the %s format has no layers with compression %q: use the OCI format", format, compression)
}

// relabel gives a layer the media type that its bytes have in another format; the bytes stay as they are.
func relabel(mediaType string, format Format) (string, error) {
	compression, err := LayerCompression(mediaType)
	if err != nil {
		return "", err
	}
	return LayerMediaType(format, compression)
}

func (f Format) manifestType() string {
	if f == Docker {
		return MediaTypeDockerManifest
	}
	return ocispec.MediaTypeImageManifest
}

func (f Format) configType() string {
	if f == Docker {
		return MediaTypeDockerConfig
	}
	return ocispec.MediaTypeImageConfig
}

func (f Format) indexType() string {
	if f == Docker {
		return MediaTypeDockerIndex
	}
	return ocispec.MediaTypeImageIndex
}
