package host

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/image"
)

const (
	// maxManifests is how many manifests an index may lead to, and maxLevels how deep they may lie. Images for every
	// platform there is, each with its attestations, are far fewer.
	maxManifests = 1000
	maxLevels    = 4
	// manifestsAtOnce is how many are read at once.
	manifestsAtOnce = 8
)

// graph is everything that a manifest or an index refers to, each thing once.
type graph struct {
	// levels are the manifests and indexes: what is listed by others before those that list it, the top one alone last.
	levels [][]document
	blobs  []ocispec.Descriptor
	// left are layers that must not be copied.
	left []ocispec.Descriptor
}

// document is a manifest or an index.
type document struct {
	desc ocispec.Descriptor
	text []byte
}

// references is what a document refers to. It is read leniently: what an artifact or an attestation is made of is nobody's
// business here.
type references struct {
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
}

// readGraph reads all manifests that the source's top one leads to.
func readGraph(ctx context.Context, from *base.Source) (*graph, error) {
	g := &graph{}
	seen := map[digest.Digest]bool{from.Top.Digest: true}
	level := []document{{desc: from.Top, text: from.Document}}
	for depth := 0; len(level) > 0; depth++ {
		if depth == maxLevels {
			return nil, fmt.Errorf("copy %q: indexes are nested too deeply", from.Name)
		}
		g.levels = append([][]document{level}, g.levels...)
		var next []ocispec.Descriptor
		for _, d := range level {
			listed, err := g.add(d, seen)
			if err != nil {
				return nil, fmt.Errorf("copy %q: %w", from.Name, err)
			}
			next = append(next, listed...)
		}
		if len(seen) > maxManifests+len(g.blobs)+len(g.left) {
			return nil, fmt.Errorf("copy %q: it leads to more than %d manifests", from.Name, maxManifests)
		}
		var err error
		if level, err = readDocuments(ctx, from, next); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// add notes what a document refers to, and gives the manifests among it.
func (g *graph) add(d document, seen map[digest.Digest]bool) ([]ocispec.Descriptor, error) {
	var refs references
	if err := json.Unmarshal(d.text, &refs); err != nil {
		return nil, fmt.Errorf("read %s: %w", d.desc.Digest, err)
	}
	isNew := func(r ocispec.Descriptor) (bool, error) {
		if err := r.Digest.Validate(); err != nil || r.Size < 0 {
			return false, fmt.Errorf("%s refers to %q with %d bytes, which is no descriptor", d.desc.Digest, r.Digest, r.Size)
		}
		known := seen[r.Digest]
		seen[r.Digest] = true
		return !known, nil
	}
	if !base.IsIndex(d.desc.MediaType) {
		blobs := refs.Layers
		if refs.Config != nil {
			blobs = append([]ocispec.Descriptor{*refs.Config}, blobs...)
		}
		for _, b := range blobs {
			fresh, err := isNew(b)
			switch {
			case err != nil:
				return nil, err
			case fresh && mustStay(b):
				g.left = append(g.left, b)
			case fresh:
				g.blobs = append(g.blobs, b)
			}
		}
		return nil, nil
	}
	var listed []ocispec.Descriptor
	for _, m := range refs.Manifests {
		if !base.IsIndex(m.MediaType) && m.MediaType != ocispec.MediaTypeImageManifest && m.MediaType != image.MediaTypeDockerManifest {
			return nil, fmt.Errorf("the index %s lists %s of media type %q: manifests and indexes of OCI and Docker can be copied", d.desc.Digest, m.Digest, m.MediaType)
		}
		fresh, err := isNew(m)
		if err != nil {
			return nil, err
		}
		if fresh {
			listed = append(listed, m)
		}
	}
	return listed, nil
}

// mustStay says whether a layer's licence keeps it where it is: the manifest says where that is.
func mustStay(d ocispec.Descriptor) bool {
	return len(d.URLs) > 0 && (strings.Contains(d.MediaType, ".foreign.") || strings.Contains(d.MediaType, ".nondistributable."))
}

// readDocuments reads manifests beside each other, and gives them in the order they were asked for.
func readDocuments(ctx context.Context, from *base.Source, wanted []ocispec.Descriptor) ([]document, error) {
	found := make([]document, len(wanted))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(manifestsAtOnce)
	for i, w := range wanted {
		g.Go(func() error {
			desc, text, err := from.Manifest(ctx, w)
			if err != nil {
				return &Error{fmt.Errorf("copy %q: read a manifest that it lists: %w", from.Name, err), "to copy the image for one platform alone, name it with --platform"}
			}
			if desc.MediaType != w.MediaType {
				return fmt.Errorf("copy %q: %s is of media type %q, and the index says %q", from.Name, w.Digest, desc.MediaType, w.MediaType)
			}
			found[i] = document{desc: desc, text: text}
			return nil
		})
	}
	return found, g.Wait()
}

// each does something for each of many at once, and stops at the first error.
func each[T any](ctx context.Context, all []T, limit int, do func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(limit)
	for _, x := range all {
		g.Go(func() error { return do(ctx, x) })
	}
	return g.Wait()
}
