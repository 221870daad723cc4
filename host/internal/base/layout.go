package base

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// OpenLayout opens an image in an OCI layout directory, given as "dir", "dir:tag" or "dir@sha256:…" with or without
// tag. Without a tag or digest the layout must hold exactly one image, or one tagged "latest".
func OpenLayout(ctx context.Context, reference string, platform ocispec.Platform) (*Image, error) {
	dir, tag, want := splitLayout(reference)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open OCI layout %q: %w", dir, err)
	}
	l := &layout{name: dir, root: root}
	desc, err := l.find(tag, want)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open OCI layout %q: %w", dir, err), root.Close())
	}
	desc, document, err := l.manifest(ctx, desc)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return open(ctx, "oci-layout://"+reference, l, desc, document, platform)
}

// splitLayout cuts a tag and a digest off a reference. A ':' within the last element of the path starts a tag.
func splitLayout(reference string) (dir, tag string, want digest.Digest) {
	dir, d, _ := strings.Cut(reference, "@")
	if i := strings.LastIndexByte(dir, ':'); i > strings.LastIndexByte(dir, '/') {
		dir, tag = dir[:i], dir[i+1:]
	}
	return dir, tag, digest.Digest(d)
}

// layout is a directory as the OCI image layout specification describes it.
type layout struct {
	name string
	root *os.Root
}

// find picks a manifest of index.json.
func (l *layout) find(tag string, want digest.Digest) (ocispec.Descriptor, error) {
	text, err := l.read("index.json")
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("read index.json: %w", err)
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
		case tag == name && tag != "", tag == "" && (len(index.Manifests) == 1 || name == "latest"):
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

func (l *layout) manifest(_ context.Context, desc ocispec.Descriptor) (ocispec.Descriptor, []byte, error) {
	name, err := blobPath(desc.Digest)
	if err != nil {
		return desc, nil, fmt.Errorf("OCI layout %q: %w", l.name, err)
	}
	text, err := l.read(name)
	if err != nil {
		return desc, nil, fmt.Errorf("OCI layout %q: %w", l.name, err)
	}
	if got := desc.Digest.Algorithm().FromBytes(text); got != desc.Digest {
		return desc, nil, fmt.Errorf("OCI layout %q: blob %s has digest %s", l.name, desc.Digest, got)
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

func (l *layout) blob(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	name, err := blobPath(desc.Digest)
	if err != nil {
		return nil, fmt.Errorf("OCI layout %q: %w", l.name, err)
	}
	f, err := l.open(name)
	if err != nil {
		return nil, fmt.Errorf("OCI layout %q: %w", l.name, err)
	}
	v, err := newVerifier(f, desc)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return v, nil
}

func (l *layout) read(name string) ([]byte, error) {
	f, err := l.open(name)
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

// open opens a regular file inside the layout; a FIFO there must not block the build.
func (l *layout) open(name string) (*os.File, error) {
	info, err := l.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return l.root.Open(name)
}

func blobPath(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", d, err)
	}
	return path.Join("blobs", d.Algorithm().String(), d.Encoded()), nil
}

// verifier checks size and digest of what is read through it.
type verifier struct {
	io.ReadCloser
	desc  ocispec.Descriptor
	check digest.Verifier
	left  int64
}

func newVerifier(r io.ReadCloser, desc ocispec.Descriptor) (*verifier, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", desc.Digest, err)
	}
	return &verifier{ReadCloser: r, desc: desc, check: desc.Digest.Verifier(), left: desc.Size}, nil
}

// Read is [io.Reader]'s.
func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.check.Write(p[:n]) //nolint:errcheck // a hash never fails
	v.left -= int64(n)
	switch {
	case v.left < 0, errors.Is(err, io.EOF) && v.left > 0:
		return n, fmt.Errorf("blob %s has another size than the %d bytes its descriptor says", v.desc.Digest, v.desc.Size)
	case errors.Is(err, io.EOF) && !v.check.Verified():
		return n, fmt.Errorf("blob %s has another digest", v.desc.Digest)
	}
	return n, err
}
