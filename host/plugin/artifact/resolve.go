package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/plugin/lock"
	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/store"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// Request is a plugin as trowel.toml has it.
type Request struct {
	Name   string
	Source string
	Kind   sdk.Kind // empty takes any
	Trust  string   // "native" takes programs that no sandbox holds, and prefers them
	Grants service.Grants
	// Dir is what the path of a "file:" source is relative to; empty means the working directory.
	Dir string
}

func (r Request) wanted() lock.Wanted {
	return lock.Wanted{Name: r.Name, Source: r.Source, Grants: r.Grants.Digest()}
}

func thisMachine() manifest.Platform { return manifest.Platform("linux/" + runtime.GOARCH) }

// platforms are those that the plugin may be for, the preferred one first. A native program is looked for in any case, to
// say why it is not run.
func (r Request) platforms() []manifest.Platform {
	if r.Trust == trustNative {
		return []manifest.Platform{thisMachine(), manifest.Wasm}
	}
	return []manifest.Platform{manifest.Wasm, thisMachine()}
}

const trustNative = "native"

// Resolve returns the program that a build runs for a plugin: what the lock file says, and nothing else. What is not in the
// store is fetched from the plugin's repository or a mirror of it, by digest.
func (c *Client) Resolve(ctx context.Context, r Request, locked lock.File, mode lock.Mode) (Program, error) {
	entry, held, err := locked.Check(r.wanted(), mode)
	if err != nil {
		return Program{}, err
	}
	if !strings.HasPrefix(r.Source, scheme) {
		program, d, err := c.local(r)
		if err == nil && held {
			err = entry.Match(r.Name, d, mode)
		}
		if err != nil {
			return Program{}, err
		}
		return program, r.accept(&program)
	}
	var keys []Key
	if c.options.Policy.RequireSignature {
		keys = c.keys
	}
	program, _, err := c.installed(ctx, r, entry, keys)
	return program, err
}

// installed returns what a lock entry names, and the key that signed it if there are keys.
func (c *Client) installed(ctx context.Context, r Request, e lock.Entry, keys []Key) (Program, string, error) {
	ref, err := parseReference(r.Source)
	if err != nil {
		return Program{}, "", err
	}
	s := shelf{client: c.registry, repository: ref.Repository, store: c.options.Store}
	var by string
	if len(keys) > 0 {
		key, err := s.checkSignature(ctx, e.Digest, keys)
		if err != nil {
			return Program{}, "", healable(r.Name, fmt.Errorf("verify %s: %w", e.Digest, err))
		}
		by = key.String()
	}
	program, err := s.locked(ctx, e, r.platforms())
	if err != nil {
		return Program{}, "", healable(r.Name, err)
	}
	return program, by, r.accept(&program)
}

// healable adds how to mend a store that was changed.
func healable(plugin string, err error) error {
	if !errors.Is(err, store.ErrWrongContent) {
		return err
	}
	return &Error{Err: err, Cure: "run `trowel plugin install " + plugin + "`, which fetches it anew"}
}

// locked follows the digests from a lock entry to the program: a layer that the locked manifest does not name is refused,
// for the signature is that of the manifest.
func (s shelf) locked(ctx context.Context, e lock.Entry, platforms []manifest.Platform) (Program, error) {
	entries, err := s.entries(ctx, e.Digest)
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
	want := e.Layers[string(chosen.platform)]
	if chosen.platform == "" && len(e.Layers) == 1 {
		for _, d := range e.Layers {
			want = d
		}
	}
	if layer.Digest != want {
		return Program{}, fmt.Errorf("%s names the program %s, and %s says %q", e.Digest, layer.Digest, lock.FileName, want)
	}
	return s.program(ctx, layer)
}

// local returns a file's or a built-in program, and the digest by which it is locked.
func (c *Client) local(r Request) (Program, digest.Digest, error) {
	content, err := c.readLocal(r)
	if err != nil {
		return Program{}, "", err
	}
	program, err := open(content)
	if err != nil {
		return Program{}, "", fmt.Errorf("%s: %w", r.Source, err)
	}
	if unsafe.SliceData(content) == unsafe.SliceData(program.Bytes) && len(content) == len(program.Bytes) {
		return program, program.Digest, nil // nothing was around it
	}
	return program, digest.FromBytes(content), nil
}

func (c *Client) readLocal(r Request) ([]byte, error) {
	if name, ok := strings.CutPrefix(r.Source, "builtin:"); ok {
		if c.options.Builtin == nil {
			return nil, fmt.Errorf("there is no built-in plugin %q", name)
		}
		return c.options.Builtin(name)
	}
	name, ok := strings.CutPrefix(r.Source, "file:")
	if !ok {
		return nil, fmt.Errorf("source is %q, and must begin with builtin:, file: or oci://", r.Source)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(r.Dir, name)
	}
	return ReadFile(name)
}

// ReadFile reads a program that a user named.
func ReadFile(name string) ([]byte, error) {
	// A FIFO must not make the build wait.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Err: fmt.Errorf("read program: %w", err), Cure: "build it first, or correct the path"}
	}
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read program %q: it is no file", name)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxProgram+1))
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	if len(content) > maxProgram {
		return nil, fmt.Errorf("read program %q: it has more than %d bytes", name, maxProgram)
	}
	return content, nil
}

// accept says why a program cannot be what the request wants, and notes what it would like and has not been granted.
func (r Request) accept(p *Program) error {
	if p.Platform.Native() && r.Trust != trustNative {
		return &Error{
			Err:  fmt.Errorf("it is a program for %s, which no sandbox holds", p.Platform),
			Cure: fmt.Sprintf("if it may do whatever you can, write trust = %q under [plugins.%s]", trustNative, r.Name),
		}
	}
	if p.Platform.Native() && p.Platform != thisMachine() {
		return fmt.Errorf("it is a program for %s, and this machine is %s", p.Platform, thisMachine())
	}
	m := p.Manifest
	if m.Name == "" {
		return nil
	}
	if m.ABI != abi.Version {
		return &Error{
			Err:  fmt.Errorf("%s %s speaks version %d of the plugin ABI, and this trowel version %d", m.Name, m.Version, m.ABI, abi.Version),
			Cure: "use a version of the plugin, or of trowel, that fits",
		}
	}
	if r.Kind != "" && !slices.Contains(m.Kinds, r.Kind) {
		return &Error{
			Err:  fmt.Errorf("%s is of the kind %v, and trowel.toml has it as %s", m.Name, m.Kinds, r.Kind),
			Cure: fmt.Sprintf("write kind = %q under [plugins.%s], or name another plugin", m.Kinds[0], r.Name),
		}
	}
	p.Missing = m.Wants.Missing(r.Grants)
	return nil
}
