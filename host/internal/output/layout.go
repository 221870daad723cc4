package output

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/image"
)

// annotationImageName is containerd's, which BuildKit writes too: the whole reference, where the OCI's has the tag alone.
const annotationImageName = "io.containerd.image.name"

// maxIndex bounds an index.json that is read.
const maxIndex = 16 << 20

func inMemory(d image.Document) Blob {
	return Blob{Descriptor: d.Descriptor, Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(d.Bytes)), nil
	}}
}

func blobPath(d ocispec.Descriptor) string {
	return path.Join(ocispec.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded())
}

// OCIContent is what an OCI layout is made of: an image, or an index over several.
type OCIContent interface {
	// entries are the descriptors by which the layout's index names it: one a name, or a single one without.
	entries() ([]ocispec.Descriptor, error)
	blobs() []Blob
}

func (m Image) entries() ([]ocispec.Descriptor, error) {
	return indexEntries(m.Manifest.Descriptor, m.Names, m.Created)
}

func (x Index) entries() ([]ocispec.Descriptor, error) {
	return indexEntries(x.Descriptor, x.Names, x.Created)
}

func indexEntries(base ocispec.Descriptor, named []string, created time.Time) ([]ocispec.Descriptor, error) {
	base.Annotations = maps.Clone(base.Annotations)
	if base.Annotations == nil {
		base.Annotations = map[string]string{}
	}
	if _, ok := base.Annotations[ocispec.AnnotationCreated]; !ok && !created.IsZero() {
		base.Annotations[ocispec.AnnotationCreated] = created.UTC().Format(time.RFC3339)
	}
	names, err := references(named)
	if err != nil {
		return nil, err
	}
	var entries []ocispec.Descriptor
	for _, name := range names {
		d := base
		d.Annotations = maps.Clone(base.Annotations)
		d.Annotations[annotationImageName] = name.String()
		d.Annotations[ocispec.AnnotationRefName] = name.Tag()
		entries = append(entries, d)
	}
	if len(entries) == 0 {
		entries = append(entries, base)
	}
	return entries, nil
}

// references are names in full: "app" is "docker.io/library/app:latest".
func references(names []string) ([]reference.NamedTagged, error) {
	var out []reference.NamedTagged
	seen := map[string]bool{}
	for _, name := range names {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, fmt.Errorf("image name %q: %w", name, err)
		}
		tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
		if _, digested := named.(reference.Digested); digested || !ok {
			return nil, fmt.Errorf("image name %q has a digest: name it with a tag", name)
		}
		if !seen[tagged.String()] {
			seen[tagged.String()] = true
			out = append(out, tagged)
		}
	}
	return out, nil
}

// mustBeOCI refuses an image of Docker's format, which readers of OCI layouts do not find.
func mustBeOCI(entries []ocispec.Descriptor) error {
	if t := entries[0].MediaType; t != ocispec.MediaTypeImageManifest && t != ocispec.MediaTypeImageIndex {
		return fmt.Errorf("the manifest has media type %q: an OCI layout needs an image of the OCI format", t)
	}
	return nil
}

func newIndex(manifests []ocispec.Descriptor) ocispec.Index {
	return ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests}
}

func layoutFile() ([]byte, error) {
	return json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
}

// WriteOCIDirectory puts the image into an OCI layout, making the directory if there is none. Images that are there stay,
// but for those of the same name; an image without a name gets the tag "latest", as from BuildKit. The index is replaced
// last and at once: a reader sees the layout before or after, never between.
func WriteOCIDirectory(ctx context.Context, dir string, c OCIContent) (err error) {
	entries, err := c.entries()
	if err != nil {
		return err
	}
	if err := mustBeOCI(entries); err != nil {
		return err
	}
	if _, named := entries[0].Annotations[ocispec.AnnotationRefName]; !named {
		entries[0].Annotations[ocispec.AnnotationRefName] = "latest"
	}
	return writeDirectory(ctx, dir, entries, c.blobs())
}

// atOnce is how many blobs are written to a directory beside each other: more only make a disk seek.
const atOnce = 4

// writeDirectory puts blobs into a layout and then names them in its index.
func writeDirectory(ctx context.Context, dir string, entries []ocispec.Descriptor, blobs []Blob) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	l := ociLayout{root}
	g, writing := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, b := range blobs {
		g.Go(func() error { return l.addBlob(writing, b) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return l.addEntries(entries)
}

// ociLayout is an OCI layout in a directory.
type ociLayout struct{ root *os.Root }

// addBlob stores a blob unless it is there.
func (l ociLayout) addBlob(ctx context.Context, b Blob) error {
	name := blobPath(b.Descriptor)
	if info, err := l.root.Stat(name); err == nil && info.Mode().IsRegular() && info.Size() == b.Descriptor.Size {
		return nil
	}
	if err := l.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return l.replace(name, func(w io.Writer) error { return b.copyTo(ctx, w) })
}

func (l ociLayout) replace(name string, write func(io.Writer) error) error {
	temporary := name + "." + rand.Text()
	f, err := l.root.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, l.root.Remove(temporary))
	}
	if err := l.root.Rename(temporary, name); err != nil {
		return errors.Join(err, l.root.Remove(temporary))
	}
	return nil
}

// lock keeps other builds from replacing the index meanwhile. The lock is on the directory itself and leaves no file.
func (l ociLayout) lock(ctx context.Context) (unlock func() error, err error) {
	d, err := l.root.Open(".")
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return d.Close, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock the layout: %w", err), d.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for another build: %w", context.Cause(ctx)), d.Close())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// addEntries makes the index name the image.
func (l ociLayout) addEntries(entries []ocispec.Descriptor) error {
	if err := l.mark(); err != nil {
		return err
	}
	index, err := l.readIndex()
	if err != nil {
		return err
	}
	same := func(a, b ocispec.Descriptor) bool {
		return a.Annotations[annotationImageName] == b.Annotations[annotationImageName] &&
			a.Annotations[ocispec.AnnotationRefName] == b.Annotations[ocispec.AnnotationRefName]
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(old ocispec.Descriptor) bool {
		return slices.ContainsFunc(entries, func(e ocispec.Descriptor) bool { return same(old, e) })
	})
	index.Manifests = append(index.Manifests, entries...)
	document, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return l.replace(ocispec.ImageIndexFile, func(w io.Writer) error {
		_, err := w.Write(document)
		return err
	})
}

// mark makes the directory a layout, or checks that it is one of the version we write.
func (l ociLayout) mark() error {
	content, err := l.root.ReadFile(ocispec.ImageLayoutFile)
	if errors.Is(err, os.ErrNotExist) {
		return l.replace(ocispec.ImageLayoutFile, func(w io.Writer) error {
			content, err := layoutFile()
			if err != nil {
				return err
			}
			_, err = w.Write(content)
			return err
		})
	}
	if err != nil {
		return err
	}
	var found ocispec.ImageLayout
	if err := json.Unmarshal(content, &found); err != nil {
		return fmt.Errorf("read %s: %w", ocispec.ImageLayoutFile, err)
	}
	if found.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("the directory is an OCI layout of version %q, and this program writes %q: name another directory", found.Version, ocispec.ImageLayoutVersion)
	}
	return nil
}

func (l ociLayout) readIndex() (ocispec.Index, error) {
	info, err := l.root.Stat(ocispec.ImageIndexFile)
	if errors.Is(err, os.ErrNotExist) {
		return newIndex(nil), nil
	}
	if err != nil {
		return ocispec.Index{}, err
	}
	if info.Size() > maxIndex {
		return ocispec.Index{}, fmt.Errorf("%s has %d bytes: at most %d are read", ocispec.ImageIndexFile, info.Size(), maxIndex)
	}
	content, err := l.root.ReadFile(ocispec.ImageIndexFile)
	if err != nil {
		return ocispec.Index{}, err
	}
	index := newIndex(nil)
	if err := json.Unmarshal(content, &index); err != nil {
		return ocispec.Index{}, fmt.Errorf("read %s: %w", ocispec.ImageIndexFile, err)
	}
	return index, nil
}
