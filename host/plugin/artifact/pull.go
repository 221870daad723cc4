package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/host/plugin/store"
)

// Program is a plugin as it runs.
type Program struct {
	Bytes    []byte
	Digest   digest.Digest // of the bytes
	Platform manifest.Platform
	// Manifest is what the plugin says of itself; its name is empty if it says nothing.
	Manifest manifest.Manifest
	// Missing is what it would like to reach and has not been granted.
	Missing manifest.Wants
}

// Pull pulls a plugin from a registry without installing it: the program for the first of the platforms that there is, or
// for this machine, if none is given. It also returns the digest of what the reference names.
func (c *Client) Pull(ctx context.Context, from string, platforms ...manifest.Platform) (Program, digest.Digest, error) {
	if len(platforms) == 0 {
		platforms = []manifest.Platform{manifest.Wasm, thisMachine()}
	}
	ref, err := parseReference(from)
	if err != nil {
		return Program{}, "", err
	}
	top, err := c.lookUp(ctx, ref)
	if err != nil {
		return Program{}, "", err
	}
	s := shelf{client: c.registry, repository: ref.Repository}
	program, err := s.pull(ctx, top, platforms)
	if err != nil {
		return Program{}, "", fmt.Errorf("pull plugin %q: %w", from, err)
	}
	return program, top, nil
}

// lookUp returns the digest that a reference names now.
func (c *Client) lookUp(ctx context.Context, ref registry.Reference) (digest.Digest, error) {
	if ref.Digest != "" {
		return digest.Digest(ref.Digest), nil
	}
	d, err := c.registry.Resolve(ctx, ref)
	if err != nil {
		return "", err
	}
	return d.Digest, nil
}

// shelf reads what belongs to a plugin by its digest: from the store, if there is one and it has it, and else from the
// plugin's repository.
type shelf struct {
	client     *registry.Client
	repository registry.Repository
	store      *store.Store
	// heal takes from the repository what is wrong in the store.
	heal healing
}

type healing string

const (
	refuse healing = "" // what was changed in the store is an error
	renew  healing = "renew"
)

// stored reads from the store; found is false where the repository has to be asked.
func (s shelf) stored(d digest.Digest, limit int64) (content []byte, found bool, err error) {
	if s.store == nil {
		return nil, false, nil
	}
	content, err = s.store.Read(d, limit)
	switch {
	case err == nil:
		return content, true, nil
	case errors.Is(err, store.ErrNotFound), s.heal == renew && errors.Is(err, store.ErrWrongContent):
		return nil, false, nil
	}
	return nil, false, err
}

func (s shelf) keep(ctx context.Context, content []byte) error {
	if s.store == nil {
		return nil
	}
	_, err := s.store.Write(ctx, content)
	return err
}

// document reads a manifest or an index.
func (s shelf) document(ctx context.Context, d digest.Digest) (document, error) {
	raw, found, err := s.stored(d, maxManifest)
	if err != nil {
		return document{}, err
	}
	if !found {
		if _, raw, err = s.client.Manifest(ctx, s.repository.Digested(d.String())); err != nil {
			return document{}, err
		}
	}
	doc, err := parseDocument(raw)
	if err != nil {
		return document{}, err
	}
	if !found {
		err = s.keep(ctx, raw)
	}
	return doc, err
}

// blob reads a blob of at most limit bytes.
func (s shelf) blob(ctx context.Context, d ocispec.Descriptor, limit int64) (content []byte, err error) {
	if d.Size < 0 || d.Size > limit {
		return nil, fmt.Errorf("blob %s has %d bytes, and may have %d", d.Digest, d.Size, limit)
	}
	content, found, err := s.stored(d.Digest, limit)
	if err != nil || found {
		return content, err
	}
	r, err := s.client.Blob(ctx, s.repository, d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if content, err = io.ReadAll(r); err != nil { // no more than the descriptor's size
		return nil, err
	}
	return content, s.keep(ctx, content)
}

// entry is a manifest of an index, or the only one there is.
type entry struct {
	platform manifest.Platform // empty if nobody said
	manifest digest.Digest
}

// entries lists the programs that a manifest or an index has.
func (s shelf) entries(ctx context.Context, top digest.Digest) ([]entry, error) {
	doc, err := s.document(ctx, top)
	if err != nil {
		return nil, err
	}
	if doc.Layers != nil {
		return []entry{{manifest: top}}, nil
	}
	var all []entry
	for _, m := range doc.Manifests {
		platform := platformOf(m.Platform)
		if platform == "" && len(doc.Manifests) > 1 {
			continue // an attestation, or for a system that we do not run on
		}
		if slices.ContainsFunc(all, func(e entry) bool { return e.platform == platform }) {
			continue // the first one counts, as with images
		}
		if err := m.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("its index names the digest %.100q: %w", string(m.Digest), err)
		}
		all = append(all, entry{platform, m.Digest})
	}
	if len(all) == 0 {
		return nil, errors.New("its index has no program for a platform that plugins run on")
	}
	return all, nil
}

// choose picks the entry for the first platform that there is one for.
func choose(entries []entry, platforms []manifest.Platform) (entry, error) {
	if len(entries) == 1 && entries[0].platform == "" {
		return entries[0], nil
	}
	for _, p := range platforms {
		for _, e := range entries {
			if e.platform == p {
				return e, nil
			}
		}
	}
	var have []manifest.Platform
	for _, e := range entries {
		have = append(have, e.platform)
	}
	return entry{}, fmt.Errorf("there is no program for %s: it has %v", platforms[0], have)
}

// layer returns the descriptor of an entry's program.
func (s shelf) layer(ctx context.Context, e entry) (ocispec.Descriptor, error) {
	doc, err := s.document(ctx, e.manifest)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if doc.Layers == nil {
		return ocispec.Descriptor{}, errors.New("its index lists an index")
	}
	return doc.layer()
}

func (s shelf) pull(ctx context.Context, top digest.Digest, platforms []manifest.Platform) (Program, error) {
	entries, err := s.entries(ctx, top)
	if err != nil {
		return Program{}, err
	}
	chosen, err := choose(entries, platforms)
	if err != nil {
		return Program{}, err
	}
	layer, err := s.layer(ctx, chosen)
	if err != nil {
		return Program{}, err
	}
	return s.program(ctx, layer)
}

func (s shelf) program(ctx context.Context, layer ocispec.Descriptor) (Program, error) {
	content, err := s.blob(ctx, layer, maxProgram)
	if err != nil {
		return Program{}, err
	}
	return open(content)
}

// open makes a program of a layer or a file.
func open(content []byte) (Program, error) {
	bytes, platform, err := unwrap(content)
	if err != nil {
		return Program{}, err
	}
	if !platform.Native() {
		if err := manifest.Vet(bytes); err != nil {
			return Program{}, err
		}
	}
	m, err := manifest.Read(bytes)
	if err != nil && !errors.Is(err, manifest.ErrNone) {
		return Program{}, err
	}
	return Program{Bytes: bytes, Digest: digest.FromBytes(bytes), Platform: platform, Manifest: m}, nil
}
