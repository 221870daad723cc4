package artifact

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/plugin/lock"
	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/host/plugin/store"
)

// Renewal says what an installation does about a plugin that is locked already.
type Renewal string

// The renewals.
const (
	// Keep fetches what the lock file says, as long as trowel.toml names the same source.
	Keep Renewal = ""
	// Upgrade looks tags up again.
	Upgrade Renewal = "upgrade"
)

// Installed is a plugin that a build can use without a network.
type Installed struct {
	Program
	Entry lock.Entry
	// Before is the entry that was locked before; its source is empty if there was none.
	Before lock.Entry
	// More is what the plugin wants and the one installed before did not; known only while that is in the store.
	More manifest.Wants
	// SignedBy is the file of the key that signed it, if the policy has keys and one did.
	SignedBy string
	// Unverified says why nobody knows who signed it, where the policy has keys but does not insist.
	Unverified error
}

// Install fetches a plugin and says what to lock it as. Only here a tag is looked up.
func (c *Client) Install(ctx context.Context, r Request, locked lock.File, how Renewal) (Installed, error) {
	before := locked.Plugins[r.Name]
	in := Installed{Before: before, Entry: lock.Entry{Source: r.Source, Grants: r.Grants.Digest()}}
	var err error
	if strings.HasPrefix(r.Source, scheme) {
		err = c.installRemote(ctx, r, &in, how)
	} else {
		in.Program, in.Entry.Digest, err = c.local(r)
	}
	if err == nil {
		err = r.accept(&in.Program)
	}
	if err != nil {
		return Installed{}, err
	}
	in.Entry.Version = in.Manifest.Version
	if earlier, known := c.earlier(r, before); known {
		in.More = in.Manifest.Wants.Beyond(earlier)
	}
	return in, nil
}

func (c *Client) installRemote(ctx context.Context, r Request, in *Installed, how Renewal) error {
	if c.options.Store == nil {
		return errors.New("there is no plugin directory")
	}
	ref, err := parseReference(r.Source)
	if err != nil {
		return err
	}
	top := in.Before.Digest
	if in.Before.Source != r.Source || how == Upgrade {
		if top, err = c.lookUp(ctx, ref); err != nil {
			return err
		}
	}
	s := shelf{client: c.registry, repository: ref.Repository, store: c.options.Store, heal: renew}
	if err := c.checkInstalling(ctx, s, top, in, how); err != nil {
		return fmt.Errorf("verify %s: %w", top, err)
	}
	in.Entry.Digest = top
	if in.Program, in.Entry.Layers, err = s.install(ctx, top, r.platforms()); err != nil {
		return err
	}
	return nil
}

// checkInstalling verifies the signature that the policy wants. When a plugin is new here, it stores all there are for later.
func (c *Client) checkInstalling(ctx context.Context, s shelf, top digest.Digest, in *Installed, how Renewal) error {
	_, known, err := s.stored(top, maxManifest)
	if err != nil {
		return err
	}
	if !known || how == Upgrade {
		// That signatures cannot be had is no fault where nobody asked for them.
		if err := s.keepSignatures(ctx, top); ctx.Err() != nil {
			return err
		}
	}
	if len(c.keys) == 0 {
		return nil
	}
	key, err := s.checkSignature(ctx, top, c.keys)
	switch {
	case err == nil:
		in.SignedBy = key.String()
	case c.options.Policy.RequireSignature:
		return err
	default:
		in.Unverified = err
	}
	return nil
}

// install fetches the program for this machine, and the digests of those for all platforms: the lock file holds for every
// machine that reads it.
func (s shelf) install(ctx context.Context, top digest.Digest, platforms []manifest.Platform) (Program, map[string]digest.Digest, error) {
	entries, err := s.entries(ctx, top)
	if err != nil {
		return Program{}, nil, err
	}
	chosen, err := choose(entries, platforms)
	if err != nil {
		return Program{}, nil, err
	}
	var program Program
	layers := map[string]digest.Digest{}
	for _, e := range entries {
		layer, err := s.layer(ctx, e)
		if err != nil {
			return Program{}, nil, err
		}
		if e == chosen {
			if program, err = s.program(ctx, layer); err != nil {
				return Program{}, nil, err
			}
			if e.platform == "" {
				e.platform = program.Platform
			}
			if e.platform != program.Platform {
				return Program{}, nil, fmt.Errorf("its index has a program for %s where it promises one for %s", program.Platform, e.platform)
			}
		}
		layers[string(e.platform)] = layer.Digest
	}
	return program, layers, nil
}

// earlier is what the plugin that was installed before wanted, as far as it is still in the store.
func (c *Client) earlier(r Request, before lock.Entry) (manifest.Wants, bool) {
	if c.options.Store == nil || before.Source == "" {
		return manifest.Wants{}, false
	}
	for _, p := range r.platforms() {
		content, err := c.options.Store.Read(before.Layers[string(p)], maxProgram)
		if err != nil {
			continue
		}
		if program, err := open(content); err == nil && program.Manifest.Name != "" {
			return program.Manifest.Wants, true
		}
	}
	return manifest.Wants{}, false
}

// Verify says whether a plugin is what the lock file says, and, if there are keys, which of them signed it; for a plugin
// from a registry. Without keys those of the policy count. It needs the network for what is not installed alone.
func (c *Client) Verify(ctx context.Context, r Request, locked lock.File, keys []Key) (Program, string, error) {
	if !strings.HasPrefix(r.Source, scheme) {
		program, err := c.Resolve(ctx, r, locked, lock.Frozen)
		return program, "", err
	}
	entry, _, err := locked.Check(r.wanted(), lock.Frozen)
	if err != nil {
		return Program{}, "", err
	}
	return c.installed(ctx, r, entry, c.orPolicy(keys))
}

// VerifyReference says whether what a reference names can be used as a plugin, and which key signed it, if there are keys.
// It installs nothing.
func (c *Client) VerifyReference(ctx context.Context, from string, keys []Key) (Program, digest.Digest, string, error) {
	ref, err := parseReference(from)
	if err != nil {
		return Program{}, "", "", err
	}
	program, top, err := c.Pull(ctx, from)
	if err != nil {
		return Program{}, "", "", err
	}
	by := ""
	if keys = c.orPolicy(keys); len(keys) > 0 {
		key, err := shelf{client: c.registry, repository: ref.Repository}.checkSignature(ctx, top, keys)
		if err != nil {
			return Program{}, "", "", fmt.Errorf("verify %s: %w", top, err)
		}
		by = key.String()
	}
	return program, top, by, nil
}

func (c *Client) orPolicy(keys []Key) []Key {
	if len(keys) == 0 {
		return c.keys
	}
	return keys
}

// State says where an installed plugin stands.
type State string

// The states.
const (
	Ready    State = "installed"     // a build needs no network for it
	Absent   State = "not installed" // a build would fetch what is locked
	Unlocked State = "not locked"
	Changed  State = "changed" // it is not what was locked, or the store was tampered with
	Damaged  State = "unusable"
)

// State says where a plugin stands, without a network.
func (c *Client) State(r Request, locked lock.File) State {
	entry, held, err := locked.Check(r.wanted(), lock.Open)
	if err != nil && locked.Plugins[r.Name].Source != "" {
		return Changed
	}
	if !held {
		return Unlocked
	}
	if !strings.HasPrefix(r.Source, scheme) {
		_, d, err := c.local(r)
		if err != nil {
			return Damaged
		}
		if d != entry.Digest {
			return Changed
		}
		return Ready
	}
	if c.options.Store == nil {
		return Absent
	}
	for _, p := range r.platforms() {
		if d := entry.Layers[string(p)]; d != "" {
			_, err := c.options.Store.Read(d, maxProgram)
			switch {
			case err == nil:
				return Ready
			case errors.Is(err, store.ErrWrongContent):
				return Changed
			}
			return Absent
		}
	}
	return Damaged
}
