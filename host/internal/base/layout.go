package base

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/image"
)

// OpenLayout opens an image in an OCI layout directory, given as "dir", "dir:tag" or "dir@sha256:…" with or without
// tag. Without a tag or digest the layout must hold exactly one image, or one tagged "latest".
func OpenLayout(ctx context.Context, reference string, platform ocispec.Platform) (*Image, error) {
	s, err := openLayoutDirectory(ctx, reference)
	if err != nil {
		return nil, err
	}
	i, err := s.Image(ctx, platform)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return i, nil
}

func openLayoutDirectory(ctx context.Context, reference string) (*Source, error) {
	dir, tag, want := splitLayout(reference)
	name := fmt.Sprintf("OCI layout %q", dir)
	files, err := openDirectory(dir)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return openLayout(ctx, &layout{name: name, files: files}, SchemeLayout+reference, tag, want)
}

// openLayout opens what a layout's index calls tag or want.
func openLayout(ctx context.Context, l *layout, name, tag string, want digest.Digest) (*Source, error) {
	desc, err := l.find(tag, want)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", l.name, err), l.files.Close())
	}
	desc, document, err := l.manifest(ctx, desc)
	if err != nil {
		return nil, errors.Join(err, l.files.Close())
	}
	return &Source{Name: name, Top: desc, Document: document, place: l, close: l.files.Close}, nil
}

// splitLayout cuts a tag and a digest off a reference. A ':' within the last element of the path starts a tag.
func splitLayout(reference string) (dir, tag string, want digest.Digest) {
	dir, d, _ := strings.Cut(reference, "@")
	if i := strings.LastIndexByte(dir, ':'); i > strings.LastIndexByte(dir, '/') {
		dir, tag = dir[:i], dir[i+1:]
	}
	return dir, tag, digest.Digest(d)
}

// files are the files of a layout: those of a directory or of an archive.
type files interface {
	// open opens a regular file by its name below the layout.
	open(name string) (file, error)
	io.Closer
}

// file is an open file of known size.
type file interface {
	io.ReadSeekCloser
	size() int64
}

// layout is what the OCI image layout specification describes.
type layout struct {
	name  string // for messages
	files files
}

// single says whether an index is of one image, under however many names.
func single(index ocispec.Index) bool {
	for _, m := range index.Manifests {
		if m.Digest != index.Manifests[0].Digest {
			return false
		}
	}
	return true
}

// find picks a manifest of index.json. Without a tag it is the only one, or that which is tagged "latest".
func (l *layout) find(tag string, want digest.Digest) (ocispec.Descriptor, error) {
	index, err := l.index()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var tags []string
	for _, m := range index.Manifests {
		name := m.Annotations[ocispec.AnnotationRefName]
		if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
			name = name[i+1:] // some write the whole reference there
		}
		if name != "" {
			tags = append(tags, name)
		}
		switch {
		case want != "":
			if m.Digest == want {
				return m, nil
			}
		case tag == name && tag != "", tag == "" && (single(index) || name == "latest"):
			return m, nil
		}
	}
	if want != "" {
		// An image inside an index is named by its own digest alone.
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: want, Size: -1}, nil
	}
	if tag == "" {
		tag = "latest"
	}
	return ocispec.Descriptor{}, fmt.Errorf("no image tagged %q: there are %q", tag, tags)
}

func (l *layout) index() (ocispec.Index, error) {
	var index ocispec.Index
	text, err := readAll(l.files, ocispec.ImageIndexFile)
	if err != nil {
		return index, err
	}
	if err := image.ParseJSON(text, &index); err != nil {
		return index, fmt.Errorf("read %s: %w", ocispec.ImageIndexFile, err)
	}
	return index, nil
}

func (l *layout) manifest(_ context.Context, desc ocispec.Descriptor) (ocispec.Descriptor, []byte, error) {
	name, err := blobPath(desc.Digest)
	if err != nil {
		return desc, nil, fmt.Errorf("%s: %w", l.name, err)
	}
	text, err := readAll(l.files, name)
	if err != nil {
		return desc, nil, fmt.Errorf("%s: %w", l.name, err)
	}
	if got := desc.Digest.Algorithm().FromBytes(text); got != desc.Digest {
		return desc, nil, fmt.Errorf("%s: blob %s has digest %s", l.name, desc.Digest, got)
	}
	if desc.Size < 0 {
		// Found by digest alone: the document says what it is.
		var doc struct {
			MediaType string          `json:"mediaType"`
			Manifests json.RawMessage `json:"manifests"`
		}
		if json.Unmarshal(text, &doc) == nil && doc.Manifests != nil {
			desc.MediaType = ocispec.MediaTypeImageIndex
		}
		if doc.MediaType != "" {
			desc.MediaType = doc.MediaType
		}
		desc.Size = int64(len(text))
	}
	return desc, text, nil
}

func (l *layout) blob(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	name, err := blobPath(desc.Digest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.name, err)
	}
	r, err := openBlob(l.files, name, desc, offset)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.name, err)
	}
	return r, nil
}

// openBlob opens a file as a blob, verified if it is read from its start.
func openBlob(from files, name string, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	f, err := from.open(name)
	if err != nil {
		return nil, err
	}
	if offset > 0 {
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
	v, err := newVerifier(f, desc)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return v, nil
}

// readAll reads a document.
func readAll(from files, name string) ([]byte, error) {
	f, err := from.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err == nil && len(text) > maxDocument {
		err = fmt.Errorf("%s has more than the %d bytes that are read", name, maxDocument)
	}
	return text, err
}

func blobPath(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", d, err)
	}
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded()), nil
}
