package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/plugin/manifest"
)

// PushOptions say how a plugin is pushed.
type PushOptions struct {
	// Created is when the plugin was made; the zero time means 1970, so that the same plugin always has the same digest.
	Created time.Time
	// Signer signs what was pushed; nil means that it is not signed.
	Signer *Signer
}

// Push pushes a plugin: a Wasm module, or programs for several platforms, which must be the same version of it. It returns
// the digest of what the reference then names.
func (c *Client) Push(ctx context.Context, to string, programs [][]byte, options PushOptions) (digest.Digest, error) {
	ref, err := parseReference(to)
	if err != nil {
		return "", err
	}
	if ref.Digest != "" {
		return "", &Error{Err: fmt.Errorf("push plugin to %q: a digest cannot be chosen", to), Cure: "name a tag, such as " + ref.Repository.String() + ":1.0"}
	}
	pieces, err := describe(programs)
	if err != nil {
		return "", fmt.Errorf("push plugin to %q: %w", to, err)
	}
	p := &pushing{client: c.registry, to: ref.Repository, created: options.Created}
	top, raw, err := p.everything(ctx, pieces)
	if err != nil {
		return "", err
	}
	if err := c.registry.PutManifest(ctx, ref, top.MediaType, raw); err != nil {
		return "", err
	}
	if options.Signer != nil {
		if err := c.sign(ctx, ref.Repository, top, options.Signer); err != nil {
			return "", fmt.Errorf("sign plugin %q: %w", to, err)
		}
	}
	return top.Digest, nil
}

// piece is a program to push.
type piece struct {
	program  []byte
	platform manifest.Platform
	manifest manifest.Manifest
}

// describe checks that programs are plugins, and one and the same.
func describe(programs [][]byte) ([]piece, error) {
	var pieces []piece
	for _, program := range programs {
		platform, err := manifest.Identify(program)
		if err != nil {
			return nil, err
		}
		if !platform.Native() {
			if err := manifest.Vet(program); err != nil {
				return nil, err
			}
		}
		if len(program) > maxProgram {
			return nil, fmt.Errorf("the program has %d bytes, and may have %d", len(program), maxProgram)
		}
		m, err := manifest.Read(program)
		if errors.Is(err, manifest.ErrNone) {
			return nil, &Error{Err: err, Cure: "build it with `trowel plugin build`, which adds one"}
		}
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(pieces, func(p piece) bool { return p.platform == platform }) {
			return nil, fmt.Errorf("there are two programs for %s", platform)
		}
		if len(pieces) > 0 && (m.Name != pieces[0].manifest.Name || m.Version != pieces[0].manifest.Version) {
			return nil, fmt.Errorf("the programs are not one plugin: there are %q %q and %q %q",
				pieces[0].manifest.Name, pieces[0].manifest.Version, m.Name, m.Version)
		}
		pieces = append(pieces, piece{program, platform, m})
	}
	if len(pieces) == 0 {
		return nil, errors.New("there is no program")
	}
	slices.SortFunc(pieces, func(a, b piece) int { return strings.Compare(string(a.platform), string(b.platform)) })
	return pieces, nil
}

type pushing struct {
	client  *registry.Client
	to      registry.Repository
	created time.Time
}

// everything pushes all but the manifest or index that the tag will name, which it returns.
func (p *pushing) everything(ctx context.Context, pieces []piece) (ocispec.Descriptor, []byte, error) {
	if len(pieces) == 1 && !pieces[0].platform.Native() {
		return p.wasm(ctx, pieces[0])
	}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, ArtifactType: typePlugin,
	}
	for _, piece := range pieces {
		push := p.native
		if !piece.platform.Native() {
			push = p.wasm
		}
		d, raw, err := push(ctx, piece)
		if err == nil {
			err = p.client.PutManifest(ctx, p.to.Digested(d.Digest.String()), d.MediaType, raw)
		}
		if err != nil {
			return d, nil, err
		}
		d.Platform = ociPlatform(piece.platform)
		index.Manifests = append(index.Manifests, d)
	}
	annotations, err := annotationsOf(pieces[0].manifest)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	index.Annotations = annotations
	return encode(index, ocispec.MediaTypeImageIndex)
}

// wasm pushes a module in the CNCF's layout.
func (p *pushing) wasm(ctx context.Context, piece piece) (ocispec.Descriptor, []byte, error) {
	layer, err := p.blob(ctx, piece.program, typeWasm)
	if err != nil {
		return layer, nil, err
	}
	config, err := json.Marshal(wasmConfig{
		Created: p.at().Format(time.RFC3339), Architecture: "wasm", OS: "wasip1", LayerDigests: []string{layer.Digest.String()},
	})
	if err != nil {
		return layer, nil, err
	}
	configured, err := p.blob(ctx, config, typeWasmConfig)
	if err != nil {
		return layer, nil, err
	}
	return p.manifest(piece, ocispec.Manifest{Config: configured, Layers: []ocispec.Descriptor{named(layer, piece.manifest.Name+".wasm")}})
}

// native pushes a program of one platform.
func (p *pushing) native(ctx context.Context, piece piece) (ocispec.Descriptor, []byte, error) {
	layer, err := p.blob(ctx, piece.program, typeProgram)
	if err != nil {
		return layer, nil, err
	}
	empty := ocispec.DescriptorEmptyJSON
	if _, err := p.blob(ctx, empty.Data, empty.MediaType); err != nil {
		return layer, nil, err
	}
	return p.manifest(piece, ocispec.Manifest{
		ArtifactType: typePlugin, Config: empty, Layers: []ocispec.Descriptor{named(layer, piece.manifest.Name)},
	})
}

func (p *pushing) at() time.Time {
	if p.created.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return p.created.UTC()
}

func (p *pushing) manifest(piece piece, m ocispec.Manifest) (ocispec.Descriptor, []byte, error) {
	annotations, err := annotationsOf(piece.manifest)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	m.Versioned, m.MediaType, m.Annotations = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageManifest, annotations
	return encode(m, m.MediaType)
}

// named gives a layer the file name under which other tools store it.
func named(layer ocispec.Descriptor, file string) ocispec.Descriptor {
	layer.Annotations = map[string]string{ocispec.AnnotationTitle: file}
	return layer
}

// annotationsOf are what people and registries see of a plugin without pulling it.
func annotationsOf(m manifest.Manifest) (map[string]string, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	all := map[string]string{
		annotationManifest: string(text), ocispec.AnnotationTitle: m.Name, ocispec.AnnotationVersion: m.Version,
		ocispec.AnnotationDescription: m.Summary, ocispec.AnnotationURL: m.Home, ocispec.AnnotationSource: m.Source,
	}
	for key, value := range all {
		if value == "" {
			delete(all, key)
		}
	}
	return all, nil
}

// encode is the JSON of a manifest or an index, with its descriptor.
func encode(v any, mediaType string) (ocispec.Descriptor, []byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	if len(raw) > maxManifest {
		return ocispec.Descriptor{}, nil, fmt.Errorf("the manifest for the registry has %d bytes, and may have %d", len(raw), maxManifest)
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, raw, nil
}

func (p *pushing) blob(ctx context.Context, content []byte, mediaType string) (ocispec.Descriptor, error) {
	return pushBlob(ctx, p.client, p.to, content, mediaType)
}

func pushBlob(ctx context.Context, client *registry.Client, to registry.Repository, content []byte, mediaType string) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	_, err := client.Push(ctx, to, memory{d, content}, nil, nil)
	return d, err
}

// memory is a blob whose bytes are at hand.
type memory struct {
	descriptor ocispec.Descriptor
	content    []byte
}

// Open reads from an offset on.
func (m memory) Open(_ context.Context, offset int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m.content[offset:])), nil
}

// Descriptor has been known from the beginning.
func (m memory) Descriptor(context.Context) (ocispec.Descriptor, error) { return m.descriptor, nil }

// Written says that all bytes are there.
func (m memory) Written() (int64, registry.State) { return m.descriptor.Size, registry.Complete }
