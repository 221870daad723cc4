package output

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"path"
	"slices"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// WriteOCIArchive writes the image as a tar of an OCI layout.
func WriteOCIArchive(ctx context.Context, w io.Writer, c OCIContent) error {
	entries, err := c.entries()
	if err != nil {
		return err
	}
	if err := mustBeOCI(entries); err != nil {
		return err
	}
	return writeArchive(ctx, w, entries, nil, c.blobs())
}

// dockerEntry is an image in the manifest.json of `docker save`.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// WriteDockerArchive writes the image as `docker save` does since version 25: an OCI layout with a manifest.json beside
// it, for `docker load` old and new, and for every other reader of Docker archives.
func WriteDockerArchive(ctx context.Context, w io.Writer, m Image) error {
	names, err := references(m.Names)
	if err != nil {
		return err
	}
	e := dockerEntry{Config: blobPath(m.Config.Descriptor), Layers: []string{}}
	for _, name := range names {
		e.RepoTags = append(e.RepoTags, reference.FamiliarString(name))
	}
	for _, l := range m.Layers {
		e.Layers = append(e.Layers, blobPath(l.Descriptor))
	}
	document, err := json.Marshal([]dockerEntry{e})
	if err != nil {
		return err
	}
	entries, err := m.entries()
	if err != nil {
		return err
	}
	return writeArchive(ctx, w, entries, document, m.blobs())
}

// writeArchive writes a layout as a tar, the same bytes for the same image. What readers need first comes first, so that
// a stream can be looked at without keeping it.
func writeArchive(ctx context.Context, w io.Writer, entries []ocispec.Descriptor, dockerManifest []byte, blobs []Blob) error {
	index, err := json.Marshal(newIndex(entries))
	if err != nil {
		return err
	}
	marker, err := layoutFile()
	if err != nil {
		return err
	}
	a := archive{tar.NewWriter(w)}
	if err := a.file(ocispec.ImageLayoutFile, marker); err != nil {
		return err
	}
	if err := a.file(ocispec.ImageIndexFile, index); err != nil {
		return err
	}
	if dockerManifest != nil {
		if err := a.file("manifest.json", dockerManifest); err != nil {
			return err
		}
	}
	blobs = slices.Clone(blobs)
	slices.SortFunc(blobs, func(a, b Blob) int { return cmp.Compare(a.Descriptor.Digest, b.Descriptor.Digest) })
	if err := a.directories(blobs); err != nil {
		return err
	}
	for _, b := range blobs {
		if err := a.blob(ctx, b); err != nil {
			return err
		}
	}
	return a.Close()
}

// archive is a tar that is being written.
type archive struct{ *tar.Writer }

func (a archive) file(name string, content []byte) error {
	if err := a.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := a.Write(content)
	return err
}

func (a archive) blob(ctx context.Context, b Blob) error {
	d := b.Descriptor
	if err := a.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: blobPath(d), Mode: 0o644, Size: d.Size}); err != nil {
		return err
	}
	return b.copyTo(ctx, a)
}

// directories writes those of the blobs, which are sorted: one for each algorithm of digests.
func (a archive) directories(blobs []Blob) error {
	names := []string{"blobs/"}
	for _, b := range blobs {
		if dir := path.Dir(blobPath(b.Descriptor)) + "/"; dir != names[len(names)-1] {
			names = append(names, dir)
		}
	}
	for _, dir := range names {
		if err := a.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, Format: tar.FormatPAX}); err != nil {
			return err
		}
	}
	return nil
}
