package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/output"
)

// toLayout copies into an OCI layout: a directory or an archive.
type toLayout struct{ scheme, path, tag string }

func (t *toLayout) prepare(context.Context, *copying) error { return nil }

func (t *toLayout) write(ctx context.Context, c *copying) error {
	content := output.Content{Top: c.top(), Tag: t.tag}
	for _, d := range c.graph.blobs {
		content.Blobs = append(content.Blobs, c.outputBlob(d))
	}
	for _, level := range c.graph.levels {
		for _, d := range level {
			content.Blobs = append(content.Blobs, documentBlob(d))
		}
	}
	var err error
	if t.scheme == base.SchemeLayout {
		err = output.WriteContentDirectory(ctx, t.path, content)
	} else {
		err = output.ToFile(t.path, c.Stdout, func(w io.Writer) error { return output.WriteContentArchive(ctx, w, content) })
	}
	if err != nil {
		return fmt.Errorf("copy to %q: %w", c.Destination, err)
	}
	return nil
}

// toDockerArchive copies into what `docker load` reads.
type toDockerArchive struct{ file, name string }

// prepare makes sure that there is one image: the archive has no place for an index.
func (t *toDockerArchive) prepare(ctx context.Context, c *copying) error {
	if !base.IsIndex(c.source.Top.MediaType) {
		return nil
	}
	var index ocispec.Index
	if err := json.Unmarshal(c.source.Document, &index); err != nil {
		return fmt.Errorf("read index of %q: %w", c.source.Name, err)
	}
	var only *ocispec.Platform
	var offered []string
	for _, m := range index.Manifests {
		if m.Platform != nil && m.Platform.OS != "unknown" {
			only = m.Platform
			offered = append(offered, platforms.Format(*m.Platform))
		}
	}
	if len(offered) != 1 {
		return &Error{
			fmt.Errorf("copy to %q: a Docker archive holds an image for one platform, and %q has those for %s", c.Destination, c.source.Name, strings.Join(offered, ", ")),
			"name one with --platform, or copy to " + base.SchemeOCIArchive,
		}
	}
	c.Platform = platforms.Format(*only)
	return c.choose(ctx)
}

func (t *toDockerArchive) write(ctx context.Context, c *copying) error {
	img, err := t.image(ctx, c)
	if err == nil {
		err = output.ToFile(t.file, c.Stdout, func(w io.Writer) error { return output.WriteDockerArchive(ctx, w, *img) })
	}
	if err != nil {
		return fmt.Errorf("copy to %q: %w", c.Destination, err)
	}
	return nil
}

func (t *toDockerArchive) image(ctx context.Context, c *copying) (*output.Image, error) {
	top := c.top()
	manifest, err := image.ParseManifest(c.source.Name, top.MediaType, c.source.Document)
	if err != nil {
		return nil, err
	}
	img := &output.Image{Manifest: image.Document{Descriptor: top, Bytes: c.source.Document}}
	if img.Config, err = c.config(ctx, manifest.Config); err != nil {
		return nil, err
	}
	for _, l := range manifest.Layers {
		img.Layers = append(img.Layers, c.outputBlob(l))
	}
	switch ref := c.source.Reference; {
	case t.name != "":
		img.Names = []string{t.name}
	case ref.Tag != "":
		img.Names = []string{ref.Tagged(ref.Tag).String()}
	}
	return img, nil
}

func (c *copying) config(ctx context.Context, d ocispec.Descriptor) (_ image.Document, err error) {
	if d.Size > maxConfig {
		return image.Document{}, fmt.Errorf("config %s has %d bytes: at most %d are read", d.Digest, d.Size, maxConfig)
	}
	r, err := c.source.Blob(ctx, d, 0)
	if err != nil {
		return image.Document{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	text, err := io.ReadAll(r)
	return image.Document{Descriptor: d, Bytes: text}, err
}

// maxConfig bounds a config that is held in memory.
const maxConfig = 8 << 20

// documentBlob is a manifest as a blob to write.
func documentBlob(d document) output.Blob {
	return output.Blob{Descriptor: d.desc, Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(d.text)), nil
	}}
}

// outputBlob is a blob of the source as a blob to write, which shows how far it is.
func (c *copying) outputBlob(d ocispec.Descriptor) output.Blob {
	return output.Blob{Descriptor: d, Open: func(ctx context.Context) (io.ReadCloser, error) {
		t := c.transfer("copy", c.source.Name, d)
		r, err := c.source.Blob(ctx, d, 0)
		if err != nil {
			t.end(ctx, "", err)
			return nil, err
		}
		return &movingBlob{ReadCloser: r, transfer: t, ctx: func() context.Context { return ctx }}, nil
	}}
}

// movingBlob tells of what is read through it.
type movingBlob struct {
	io.ReadCloser
	transfer *transfer
	ctx      func() context.Context // of the copy
	read     int64
	err      error
}

// Read is [io.Reader]'s.
func (m *movingBlob) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.read += int64(n)
	m.transfer.moved(m.read)
	if err != nil && !errors.Is(err, io.EOF) {
		m.err = err
	}
	return n, err
}

// Close ends the transfer. One that was given up before its end failed for a reason that its reader knows.
func (m *movingBlob) Close() error {
	err := m.ReadCloser.Close()
	failed := m.err
	if failed == nil && m.read < m.transfer.total {
		failed = errors.New("given up")
	}
	m.transfer.end(m.ctx(), "", errors.Join(failed, err))
	return err
}
