package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Recipe is all that an image is made of.
type Recipe struct {
	Base     *Base            // nil: FROM scratch
	Platform ocispec.Platform // what the image is for; empty fields are those of the base
	Config   Config           // as the last instruction left it
	Author   string           // empty: that of the base
	Steps    []Step
	Format   Format // zero: [OCI]
	// Annotations go to the manifest and its descriptor; a base's are not inherited. Those for an index are an error: an
	// image that gets one is given [Annotations.Manifests].
	Annotations Annotations
	// Epoch, SOURCE_DATE_EPOCH, overrides all times but those of the base's history.
	Epoch *time.Time
}

// Document is a blob that this package made.
type Document struct {
	Descriptor ocispec.Descriptor
	Bytes      []byte
}

// Assembled is an image: documents that name blobs. The manifest is to be stored last.
type Assembled struct {
	Image    Image
	Config   Document
	Manifest Document // its descriptor has the platform and the annotations meant for it
	Layers   []Layer  // as the manifest lists them, lowest first
}

// Assemble makes the config and the manifest of an image. Layers of the base are relabelled to the media types of the
// format, never recompressed. Equal recipes give equal bytes.
//
// The history has one entry a step, after those of the base, and as many that are not empty as there are layers. An
// entry without a time takes that of the next layer or, after the last one, of the one before, as BuildKit does.
func Assemble(r Recipe) (*Assembled, error) {
	if r.Format == "" {
		r.Format = OCI
	}
	img, layers, err := r.image()
	if err != nil {
		return nil, err
	}
	notes, err := r.Annotations.forManifest(r.Format, img.Platform())
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(img)
	if err != nil {
		return nil, fmt.Errorf("write image config: %w", err)
	}
	out := &Assembled{Image: img, Config: newDocument(r.Format.configType(), config), Layers: layers}
	manifest := ocispec.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   r.Format.manifestType(),
		Config:      out.Config.Descriptor,
		Layers:      make([]ocispec.Descriptor, 0, len(layers)),
		Annotations: notes.manifest,
	}
	for _, l := range layers {
		manifest.Layers = append(manifest.Layers, l.Descriptor)
	}
	document, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write image manifest: %w", err)
	}
	out.Manifest = newDocument(r.Format.manifestType(), document)
	platform := img.Platform()
	out.Manifest.Descriptor.Platform = &platform
	out.Manifest.Descriptor.Annotations = notes.manifestDescriptor
	return out, nil
}

func newDocument(mediaType string, content []byte) Document {
	return Document{
		Descriptor: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))},
		Bytes:      content,
	}
}

// image makes the config document and the list of layers.
func (r *Recipe) image() (Image, []Layer, error) {
	img := Image{Config: r.Config.Clone(), Author: r.Author, RootFS: RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	var layers []Layer
	if r.Base != nil {
		b := &r.Base.Image
		img.Architecture, img.OS, img.Variant, img.OSVersion, img.OSFeatures = b.Architecture, b.OS, b.Variant, b.OSVersion, slices.Clone(b.OSFeatures)
		if img.Author == "" {
			img.Author = b.Author
		}
		img.History = baseHistory(r.Base)
		layers = append(layers, r.Base.Layers...)
	}
	if err := img.setPlatform(r.Platform); err != nil {
		return Image{}, nil, err
	}
	for _, s := range r.Steps {
		if s.Layer != nil {
			layers = append(layers, *s.Layer)
		}
	}
	if err := relabelAll(layers, r.Format); err != nil {
		return Image{}, nil, err
	}
	for _, l := range layers {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, l.DiffID)
	}
	r.setTimes(&img)
	return img, layers, nil
}

// setTimes appends the steps to the history and sets when the image was created. Without a layer and without an epoch nothing says
// when, and the image then has no time, as BuildKit has it.
func (r *Recipe) setTimes(img *Image) {
	var epoch *time.Time
	if r.Epoch != nil {
		t := r.Epoch.UTC()
		epoch = &t
	}
	base := lastCreated(img.History)
	steps := stepHistory(r.Steps, epoch, base)
	if epoch == nil {
		inOrder(steps, base)
	}
	img.History = append(img.History, steps...)
	if img.Created = lastCreated(img.History); epoch != nil {
		img.Created = epoch
	}
}

// setPlatform puts what p says over what the base said. A variant and an OS version say nothing of another platform than
// that they were given for.
func (i *Image) setPlatform(p ocispec.Platform) error {
	other := (p.OS != "" && p.OS != i.OS) || (p.Architecture != "" && p.Architecture != i.Architecture)
	if p.OS != "" {
		i.OS = p.OS
	}
	if p.Architecture != "" {
		i.Architecture = p.Architecture
	}
	if p.Variant != "" || other {
		i.Variant = p.Variant
	}
	if p.OSVersion != "" || other {
		i.OSVersion = p.OSVersion
	}
	if p.OSFeatures != nil || other {
		i.OSFeatures = slices.Clone(p.OSFeatures)
	}
	if i.OS == "" || i.Architecture == "" {
		return errors.New("write image config: neither the base nor the build names an operating system and an architecture: give a platform")
	}
	return nil
}

// relabelAll makes the descriptors what a manifest of the format may hold.
func relabelAll(layers []Layer, format Format) error {
	for i := range layers {
		l := &layers[i]
		if err := checkDescriptor(l.Descriptor); err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
		if err := l.DiffID.Validate(); err != nil {
			return fmt.Errorf("layer %d: diff ID %q: %w", i+1, l.DiffID, err)
		}
		mediaType, err := relabel(l.Descriptor.MediaType, format)
		if err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
		l.Descriptor = ocispec.Descriptor{
			MediaType: mediaType, Digest: l.Descriptor.Digest, Size: l.Descriptor.Size,
			Annotations: layerAnnotations(l.Descriptor.Annotations, format),
		}
	}
	return nil
}

// layerAnnotations drops what builders note on layers for themselves. Others, such as eStargz's table of contents, belong
// to the bytes and stay.
func layerAnnotations(in map[string]string, format Format) map[string]string {
	if format == Docker {
		return nil
	}
	out := maps.Clone(in)
	maps.DeleteFunc(out, func(k, _ string) bool {
		return k == "containerd.io/uncompressed" || k == "buildkit/createdat" || strings.HasPrefix(k, "containerd.io/distribution.source.")
	})
	if len(out) == 0 {
		return nil
	}
	return out
}
