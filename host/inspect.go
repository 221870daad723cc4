package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/platforms"

	"github.com/trowel-build/trowel/host/config"
	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/sdk"
)

// InspectRequest says which image to look at.
type InspectRequest struct {
	// Reference is an image in a registry, or "oci-layout://DIR[:TAG]", "oci-archive://FILE[:TAG]" or
	// "docker-archive://FILE[:NAME]".
	Reference string
	// Platform of the image, where there are several; empty means this machine's.
	Platform string
	// Files asks for the image's files as well, for which all layers are read.
	Files Switch

	Registries  map[string]config.Registry
	Proxy       config.Proxy
	Credentials []sdk.CredentialProvider
	UserAgent   string
}

// Inspection is what an image is.
type Inspection struct {
	Reference string      `json:"reference"`
	Digest    string      `json:"digest"` // of what the reference names: a manifest or an index
	Platform  string      `json:"platform"`
	Image     image.Image `json:"image"`
	Layers    []LayerInfo `json:"layers"`
	Files     []FileInfo  `json:"files,omitempty"`
}

// LayerInfo is a layer of an image, lowest first.
type LayerInfo struct {
	Digest    string `json:"digest"`
	DiffID    string `json:"diffID"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"` // of the blob, in bytes
}

// FileInfo is a file of an image, as all layers together show it.
type FileInfo struct {
	Path    string `json:"path"`
	Type    string `json:"type"`
	Mode    string `json:"mode"` // octal
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Size    int64  `json:"size,omitempty"`
	ModTime string `json:"modTime"`
	Link    string `json:"link,omitempty"`
	Digest  string `json:"digest,omitempty"` // SHA-256 of the content
}

// Inspect looks at an image.
func Inspect(ctx context.Context, r InspectRequest) (_ Inspection, err error) {
	platform, err := targetPlatform(r.Platform)
	if err != nil {
		return Inspection{}, err
	}
	client, err := registry.New(registry.Options{Registries: r.Registries, Credentials: r.Credentials, UserAgent: r.UserAgent, Proxy: r.Proxy.Func()})
	if err != nil {
		return Inspection{}, err
	}
	defer client.Close()
	source, err := base.OpenSource(ctx, client, r.Reference)
	if err != nil {
		return Inspection{}, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	img, err := source.Image(ctx, platform)
	if err != nil {
		return Inspection{}, err
	}
	i := Inspection{
		Reference: r.Reference, Digest: img.Digest.String(), Image: img.Image,
		Platform: platforms.Format(img.Image.Platform()),
	}
	for _, l := range img.Layers {
		i.Layers = append(i.Layers, LayerInfo{
			Digest: l.Descriptor.Digest.String(), DiffID: l.DiffID.String(), MediaType: l.Descriptor.MediaType, Size: l.Descriptor.Size,
		})
	}
	if r.Files {
		i.Files, err = listFiles(ctx, img)
	}
	return i, err
}

// listFiles reads all layers of an image and lists what they show together.
func listFiles(ctx context.Context, img *base.Image) ([]FileInfo, error) {
	tree := filetree.Empty()
	for _, l := range img.Layers {
		contents, err := readLayer(ctx, img, l)
		if err != nil {
			return nil, err
		}
		if tree, err = tree.Apply(contents.Entries, nil); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.Descriptor.Digest, err)
		}
	}
	var files []FileInfo
	err := tree.Walk("", func(p string, n *filetree.Node) (bool, error) {
		if p == "" {
			return true, nil
		}
		e := n.Entry(p)
		f := FileInfo{
			Path: "/" + p, Type: e.Type.String(), Mode: fmt.Sprintf("%04o", e.Mode), UID: e.UID, GID: e.GID, Size: e.Size,
			ModTime: time.Unix(0, e.ModTime).UTC().Format(time.RFC3339), Link: e.Link,
		}
		if e.Digest.Known() {
			f.Digest = "sha256:" + e.Digest.String()
		}
		files = append(files, f)
		return true, nil
	})
	return files, err
}

func readLayer(ctx context.Context, img *base.Image, l image.Layer) (_ *layer.Contents, err error) {
	r, err := img.Open(ctx, l.Descriptor)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	contents, err := layer.Read(ctx, r, layer.ReadOptions{Name: l.Descriptor.Digest.String(), DiffID: l.DiffID})
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, r) // to the end, where the digest is verified
	return contents, err
}
