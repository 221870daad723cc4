package image

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DefaultPath is the PATH of an image that sets none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Layer is a layer as a manifest and a config list it.
type Layer struct {
	DiffID     digest.Digest
	Descriptor ocispec.Descriptor
}

// Base is an image that others are built on, read and checked.
type Base struct {
	Name   string // for error messages: the reference as the user wrote it
	Image  Image
	Layers []Layer // lowest first
}

// Manifest is what a base image's manifest says, checked.
type Manifest struct {
	Config ocispec.Descriptor
	Layers []ocispec.Descriptor
}

// ParseManifest reads the manifest of the image called name, whose bytes the caller has checked against their digest.
// mediaType is what the registry says the document is.
//
// A document that claims to be both a manifest and an index, or another type than the registry says, is refused: readers
// that disagree on what such a document is are how one digest comes to mean two images (CVE-2021-41190).
func ParseManifest(name, mediaType string, document []byte) (Manifest, error) {
	m, err := parseManifest(mediaType, document)
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest of %q: %w", name, err)
	}
	return m, nil
}

func parseManifest(mediaType string, document []byte) (Manifest, error) {
	switch mediaType {
	case ocispec.MediaTypeImageManifest, MediaTypeDockerManifest:
	case ocispec.MediaTypeImageIndex, MediaTypeDockerIndex:
		return Manifest{}, fmt.Errorf("media type %q is an index: one of its platforms must be chosen first", mediaType)
	case "application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws":
		return Manifest{}, fmt.Errorf("media type %q is Docker's schema 1, which registries gave up: push the image again with a current tool", mediaType)
	default:
		return Manifest{}, fmt.Errorf("media type %q is no image manifest", mediaType)
	}
	var doc struct {
		SchemaVersion int                  `json:"schemaVersion"`
		MediaType     string               `json:"mediaType"`
		ArtifactType  string               `json:"artifactType"`
		Config        ocispec.Descriptor   `json:"config"`
		Layers        []ocispec.Descriptor `json:"layers"`
		Manifests     json.RawMessage      `json:"manifests"`
		FSLayers      json.RawMessage      `json:"fsLayers"`
	}
	if err := ParseJSON(document, &doc); err != nil {
		return Manifest{}, err
	}
	switch {
	case doc.SchemaVersion != 2:
		return Manifest{}, fmt.Errorf("schema version %d is not 2", doc.SchemaVersion)
	case doc.MediaType != "" && doc.MediaType != mediaType:
		return Manifest{}, fmt.Errorf("it says media type %q, and the registry %q", doc.MediaType, mediaType)
	case doc.Manifests != nil || doc.FSLayers != nil:
		return Manifest{}, fmt.Errorf("it is a manifest and another document at once")
	}
	switch doc.Config.MediaType {
	case ocispec.MediaTypeImageConfig, MediaTypeDockerConfig:
	default:
		return Manifest{}, fmt.Errorf("its config has media type %q: it is an artifact, not an image", doc.Config.MediaType)
	}
	if err := checkDescriptor(doc.Config); err != nil {
		return Manifest{}, fmt.Errorf("config: %w", err)
	}
	for i, l := range doc.Layers {
		if _, err := LayerCompression(l.MediaType); err != nil {
			return Manifest{}, fmt.Errorf("layer %d: %w", i+1, err)
		}
		if err := checkDescriptor(l); err != nil {
			return Manifest{}, fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return Manifest{Config: doc.Config, Layers: doc.Layers}, nil
}

func checkDescriptor(d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	if d.Size < 0 {
		return fmt.Errorf("size %d of %s is negative", d.Size, d.Digest)
	}
	return nil
}

// ParseBase reads the config of the image called name, whose bytes the caller has checked against the manifest's
// descriptor, and pairs the manifest's layers with its diff IDs.
func ParseBase(name string, manifest Manifest, config []byte) (*Base, error) {
	img, err := parseConfig(config)
	if err != nil {
		return nil, fmt.Errorf("read config of %q: %w", name, err)
	}
	if got, want := len(img.RootFS.DiffIDs), len(manifest.Layers); got != want {
		return nil, fmt.Errorf("read config of %q: it lists %d diff IDs for %d layers: the image is damaged", name, got, want)
	}
	base := &Base{Name: name, Image: img, Layers: make([]Layer, 0, len(manifest.Layers))}
	for i, d := range manifest.Layers {
		base.Layers = append(base.Layers, Layer{DiffID: img.RootFS.DiffIDs[i], Descriptor: d})
	}
	return base, nil
}

func parseConfig(config []byte) (Image, error) {
	var img Image
	if err := ParseJSON(config, &img); err != nil {
		return Image{}, err
	}
	if img.OS != "" && img.OS != "linux" {
		return Image{}, fmt.Errorf("the image is for %s: only Linux images can be built", img.OS)
	}
	if t := img.RootFS.Type; t != "" && t != "layers" {
		return Image{}, fmt.Errorf("root file system of type %q is not supported: only %q is", t, "layers")
	}
	for i, d := range img.RootFS.DiffIDs {
		if err := d.Validate(); err != nil {
			return Image{}, fmt.Errorf("diff ID %d %q: %w", i+1, d, err)
		}
	}
	return img, nil
}

// Start is the config that a stage begins with: that of the base, with a PATH if it has none. Without a base, which is
// FROM scratch, it is an empty one with a PATH and the working directory "/".
func Start(base *Base) Config {
	c := Config{WorkingDir: "/"}
	if base != nil {
		c = base.Image.Config.Clone()
	}
	if !slices.ContainsFunc(c.Env, func(v string) bool { return strings.HasPrefix(v, "PATH=") }) {
		c.Env = append(c.Env, "PATH="+DefaultPath)
	}
	return c
}

// Platform is what the image says it runs on.
func (i *Image) Platform() ocispec.Platform {
	return ocispec.Platform{
		Architecture: i.Architecture, OS: i.OS, OSVersion: i.OSVersion, OSFeatures: slices.Clone(i.OSFeatures), Variant: i.Variant,
	}
}
