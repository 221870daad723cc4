package corpus

import (
	"fmt"
	"maps"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/trowel-build/trowel/bench/imagediff"
)

// Reader reads what builders wrote.
type Reader struct {
	images *imagediff.Reader
	base   *imagediff.Image
}

// NewReader returns a reader of images that start from base.
func NewReader(base v1.Image) (*Reader, error) {
	r := &Reader{images: imagediff.NewReader()}
	var err error
	r.base, err = r.images.Read(base)
	return r, err
}

// Read reads the OCI layout in dir, which has one image or index, made by a build that began at since. Times that the build
// made are all the same in what it returns.
func (r *Reader) Read(dir string, since time.Time) (*Golden, error) {
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	list, err := outer.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(list.Manifests) != 1 {
		return nil, fmt.Errorf("%s lists %d images, want 1", dir, len(list.Manifests))
	}
	only := list.Manifests[0]
	g := &Golden{}
	if own := given(only.Annotations); len(own) > 0 || only.MediaType.IsIndex() {
		g.Index = &Index{Descriptor: own}
	}
	if !only.MediaType.IsIndex() {
		return g, r.read(g, outer, only.Digest, since)
	}
	index, err := outer.ImageIndex(only.Digest)
	if err != nil {
		return nil, err
	}
	inner, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	g.Index.MediaTypes = []string{string(inner.MediaType)}
	g.Index.Annotations = []map[string]string{given(inner.Annotations)}
	for _, m := range inner.Manifests {
		g.Index.MediaTypes = append(g.Index.MediaTypes, string(m.MediaType))
		g.Index.Annotations = append(g.Index.Annotations, given(m.Annotations))
		if err := r.read(g, index, m.Digest, since); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (r *Reader) read(g *Golden, index v1.ImageIndex, digest v1.Hash, since time.Time) error {
	source, err := index.Image(digest)
	if err != nil {
		return err
	}
	image, err := r.images.Read(source)
	if err != nil {
		return err
	}
	image = imagediff.Options{Since: since}.Level(image)
	g.Images = append(g.Images, image)
	return nil
}

// given are the annotations that somebody asked for: exporters add names and times of their own.
func given(annotations map[string]string) map[string]string {
	rest := maps.Clone(annotations)
	maps.DeleteFunc(rest, func(key, _ string) bool {
		return key == "org.opencontainers.image.created" || key == "org.opencontainers.image.ref.name" || strings.HasPrefix(key, "io.containerd.") ||
			strings.HasPrefix(key, "containerd.")
	})
	return rest
}
