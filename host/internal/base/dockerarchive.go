package base

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/registry"
)

// dockerImage is an image in the manifest.json of `docker save`.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerArchive is what `docker save` writes: configs and layers under names of their own, and no manifests in the sense
// of registries. Since version 25 of Docker there is an OCI layout around them.
type dockerArchive struct {
	archive *archive
	// documents are manifests, and names where blobs are: both by digest.
	documents map[digest.Digest][]byte
	names     map[digest.Digest]string
}

// openDockerArchive opens an image given as "file" or "file:name", which the archive must have if it holds several.
func openDockerArchive(ctx context.Context, rest string) (*Source, error) {
	file, name := rest, ""
	if !isFile(rest) {
		file, name, _ = strings.Cut(rest, ":")
	}
	a, err := openArchive(file)
	if err != nil {
		return nil, err
	}
	d := &dockerArchive{archive: a, documents: map[digest.Digest][]byte{}, names: map[digest.Digest]string{}}
	desc, document, err := d.find(ctx, name)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open Docker archive %q: %w", file, err), a.Close())
	}
	return &Source{Name: SchemeDockerArchive + rest, Top: desc, Document: document, place: d, close: a.Close}, nil
}

// find picks an image and gives its manifest: the one the archive has, or one made from what the archive says.
func (d *dockerArchive) find(ctx context.Context, name string) (ocispec.Descriptor, []byte, error) {
	var none ocispec.Descriptor
	text, err := readAll(d.archive, "manifest.json")
	if err != nil {
		return none, nil, err
	}
	var images []dockerImage
	if err := json.Unmarshal(text, &images); err != nil {
		return none, nil, fmt.Errorf("read manifest.json: %w", err)
	}
	chosen, err := chooseDocker(images, name)
	if err != nil {
		return none, nil, err
	}
	config, err := d.describe(ctx, chosen.Config)
	if err != nil {
		return none, nil, err
	}
	config.MediaType = ocispec.MediaTypeImageConfig
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config,
		Layers: []ocispec.Descriptor{},
	}
	for _, l := range chosen.Layers {
		desc, err := d.describe(ctx, l)
		if err != nil {
			return none, nil, err
		}
		m.Layers = append(m.Layers, desc)
	}
	desc, document, ok := d.own(ctx, m)
	if !ok {
		if document, err = json.Marshal(m); err != nil {
			return none, nil, err
		}
		desc = ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(document), Size: int64(len(document))}
	}
	d.documents[desc.Digest] = document
	return desc, document, nil
}

// chooseDocker finds the image called name, or the only one.
func chooseDocker(images []dockerImage, name string) (dockerImage, error) {
	var names []string
	for _, i := range images {
		names = append(names, i.RepoTags...)
		if slices.ContainsFunc(i.RepoTags, func(n string) bool { return name != "" && sameName(n, name) }) {
			return i, nil
		}
	}
	switch {
	case name != "":
		return dockerImage{}, fmt.Errorf("no image is called %q: there are %q", name, names)
	case len(images) != 1:
		return dockerImage{}, fmt.Errorf("it holds %d images: name one of %q after a colon", len(images), names)
	}
	return images[0], nil
}

// sameName compares names as Docker does: "app" is "docker.io/library/app:latest".
func sameName(a, b string) bool {
	x, err := registry.ParseReference(a)
	if err != nil {
		return a == b
	}
	y, err := registry.ParseReference(b)
	return err == nil && x == y
}

// describe makes a descriptor of a file of the archive. One that is named by its digest is believed for now, and verified
// when it is read.
func (d *dockerArchive) describe(ctx context.Context, name string) (ocispec.Descriptor, error) {
	f, err := d.archive.open(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer f.Close()
	start := make([]byte, 4)
	n, err := io.ReadFull(f, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: layerType(start[:n]), Size: f.size()}
	desc.Digest = digest.NewDigestFromEncoded(digest.SHA256, path.Base(name))
	if path.Dir(path.Clean(name)) != path.Join(ocispec.ImageBlobsDir, "sha256") || desc.Digest.Validate() != nil {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return desc, err
		}
		digester := digest.SHA256.Digester()
		if _, err := io.Copy(digester.Hash(), contextReader{ctx, f}); err != nil {
			return desc, fmt.Errorf("read %q: %w", name, err)
		}
		desc.Digest = digester.Digest()
	}
	d.names[desc.Digest] = name
	return desc, nil
}

// layerType knows a layer's compression by its first bytes, for its name says nothing.
func layerType(start []byte) string {
	switch {
	case bytes.HasPrefix(start, []byte("\x1f\x8b")):
		return ocispec.MediaTypeImageLayerGzip
	case bytes.HasPrefix(start, []byte("\x28\xb5\x2f\xfd")):
		return ocispec.MediaTypeImageLayerZstd
	}
	return ocispec.MediaTypeImageLayer
}

// own is the manifest that the archive itself has for the image, so that a digest survives the way through an archive.
func (d *dockerArchive) own(ctx context.Context, want ocispec.Manifest) (ocispec.Descriptor, []byte, bool) {
	l := &layout{name: d.archive.name, files: d.archive}
	index, err := l.index()
	if err != nil {
		return ocispec.Descriptor{}, nil, false // older than version 25
	}
	same := func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest && a.Size == b.Size }
	for _, m := range index.Manifests {
		if m.MediaType != ocispec.MediaTypeImageManifest && m.MediaType != image.MediaTypeDockerManifest {
			continue
		}
		desc, document, err := l.manifest(ctx, m)
		if err != nil {
			continue
		}
		found, err := image.ParseManifest(d.archive.name, desc.MediaType, document)
		if err == nil && same(found.Config, want.Config) && slices.EqualFunc(found.Layers, want.Layers, same) {
			return ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}, document, true
		}
	}
	return ocispec.Descriptor{}, nil, false
}

func (d *dockerArchive) manifest(_ context.Context, desc ocispec.Descriptor) (ocispec.Descriptor, []byte, error) {
	document, ok := d.documents[desc.Digest]
	if !ok {
		return desc, nil, fmt.Errorf("archive %q has no manifest %s", d.archive.name, desc.Digest)
	}
	return desc, document, nil
}

func (d *dockerArchive) blob(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	name, ok := d.names[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("archive %q has no blob %s", d.archive.name, desc.Digest)
	}
	return openBlob(d.archive, name, desc, offset)
}

// contextReader reads until its context ends.
type contextReader struct {
	ctx context.Context //nolint:containedctx // of the one read that it is for
	r   io.Reader
}

// Read is [io.Reader]'s.
func (c contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
