// Package lock reads and writes trowel.lock, which says by digest what the plugins of trowel.toml are. Only
// `trowel plugin install` writes it; a build runs what it names and nothing else.
package lock

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/opencontainers/go-digest"
)

// FileName is what the lock file is called. It lies beside the project's trowel.toml.
const FileName = "trowel.lock"

// version is that of the format.
const version = 1

// maxSize is how large a lock file may be.
const maxSize = 4 << 20

// File is a lock file.
type File struct {
	Plugins map[string]Entry // by their name in trowel.toml
}

// Entry is what one plugin is.
type Entry struct {
	// Source is as trowel.toml says it.
	Source string `toml:"source"`
	// Version is what the plugin calls itself.
	Version string `toml:"version"`
	// Digest is that of what the source names: of a manifest or an index in a registry, which cover all platforms, or of
	// the file's bytes.
	Digest digest.Digest `toml:"digest"`
	// Layers has for what comes from a registry the digests of the programs, by platform: "wasm", "linux/amd64".
	Layers map[string]digest.Digest `toml:"layers"`
	// Grants is the digest of what the user granted when the plugin was installed.
	Grants string `toml:"grants"`
}

// Read reads a lock file. One that does not exist is empty.
func Read(name string) (File, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, nil
	}
	if err != nil {
		return File{}, fmt.Errorf("read lock file: %w", err)
	}
	return Parse(name, text)
}

// Parse reads the text of a lock file; the name is for errors, which say the line too. Nothing in it is ignored.
func Parse(name string, text []byte) (File, error) {
	if len(text) > maxSize {
		return File{}, fmt.Errorf("%s: it has %d bytes, and may have %d", name, len(text), maxSize)
	}
	// The version first: what else a newer file has may have another form.
	var head struct {
		Version int `toml:"version"`
	}
	meta, err := toml.Decode(string(text), &head)
	if err != nil {
		return File{}, syntaxError(name, err)
	}
	if err := checkVersion(name, head.Version, meta.IsDefined("version")); err != nil {
		return File{}, err
	}
	var doc struct {
		Version int              `toml:"version"`
		Plugins map[string]Entry `toml:"plugins"`
	}
	if meta, err = toml.Decode(string(text), &doc); err != nil {
		return File{}, syntaxError(name, err)
	}
	where := func(key ...string) string {
		if line := lineOf(string(text), key); line > 0 {
			return name + ":" + strconv.Itoa(line)
		}
		return name
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return File{}, fmt.Errorf("%s: unknown key %q", where(unknown[0]...), unknown[0].String())
	}
	for _, plugin := range slices.Sorted(maps.Keys(doc.Plugins)) {
		if key, err := doc.Plugins[plugin].validate(); err != nil {
			return File{}, fmt.Errorf("%s: plugin %q: %w", where(append([]string{"plugins", plugin}, key...)...), plugin, err)
		}
	}
	return File{Plugins: doc.Plugins}, nil
}

// syntaxError says where the TOML is wrong.
func syntaxError(name string, err error) error {
	if syntax, ok := errors.AsType[toml.ParseError](err); ok {
		return fmt.Errorf("%s:%d:%d: %s", name, syntax.Position.Line, syntax.Position.Col, syntax.Message)
	}
	return fmt.Errorf("%s: %w", name, err)
}

func checkVersion(name string, found int, stated bool) error {
	switch {
	case !stated:
		return &Error{Err: fmt.Errorf("%s: it does not say its version", name), Cure: "remove it and run `trowel plugin install`"}
	case found > version:
		return &Error{
			Err:  fmt.Errorf("%s: its version is %d, and this trowel knows %d", name, found, version),
			Cure: "use the trowel that wrote it, or a newer one",
		}
	case found < 1:
		return fmt.Errorf("%s: its version is %d, and there is none below 1", name, found)
	}
	return nil
}

// validate says what is wrong with an entry, and at which key.
func (e Entry) validate() (key []string, err error) {
	if kindOf(e.Source) == "" {
		return []string{"source"}, fmt.Errorf("source is %q, and must begin with builtin:, file: or oci://", e.Source)
	}
	if err := checkDigest("digest", e.Digest); err != nil {
		return []string{"digest"}, err
	}
	for _, platform := range slices.Sorted(maps.Keys(e.Layers)) {
		if err := checkDigest("layers."+platform, e.Layers[platform]); err != nil {
			return []string{"layers", platform}, err
		}
	}
	if kindOf(e.Source) == kindOCI && len(e.Layers) == 0 {
		return []string{"layers"}, errors.New("layers is missing")
	}
	return nil, nil
}

func checkDigest(key string, d digest.Digest) error {
	if d == "" {
		return fmt.Errorf("%s is missing", key)
	}
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("%s is %.100q, and must be sha256: with 64 digits", key, string(d))
	}
	return nil
}

// The kinds of sources.
const (
	kindBuiltin = "builtin"
	kindFile    = "file"
	kindOCI     = "oci"
)

// kindOf is the kind of a source, or nothing.
func kindOf(source string) string {
	for kind, prefix := range map[string]string{kindBuiltin: "builtin:", kindFile: "file:", kindOCI: "oci://"} {
		if strings.HasPrefix(source, prefix) && len(source) > len(prefix) {
			return kind
		}
	}
	return ""
}

const header = `# Which plugins are used, by digest. Written by "trowel plugin install"; belongs under version control, beside trowel.toml.
`

// Text is the file's text: always the same for the same plugins.
func (f File) Text() ([]byte, error) {
	var b strings.Builder
	b.WriteString(header)
	fmt.Fprintf(&b, "version = %d\n", version)
	for _, name := range slices.Sorted(maps.Keys(f.Plugins)) {
		e := f.Plugins[name]
		if _, err := e.validate(); err != nil {
			return nil, fmt.Errorf("write lock file: plugin %q: %w", name, err)
		}
		fmt.Fprintf(&b, "\n[plugins.%s]\n", tomlKey(name))
		for _, kv := range []struct{ key, value string }{
			{"source", e.Source}, {"version", e.Version}, {"digest", string(e.Digest)}, {"grants", e.Grants},
		} {
			if kv.value != "" {
				fmt.Fprintf(&b, "%s = %s\n", kv.key, tomlString(kv.value))
			}
		}
		if len(e.Layers) > 0 {
			fmt.Fprintf(&b, "[plugins.%s.layers]\n", tomlKey(name))
		}
		for _, platform := range slices.Sorted(maps.Keys(e.Layers)) {
			fmt.Fprintf(&b, "%s = %s\n", tomlKey(platform), tomlString(string(e.Layers[platform])))
		}
	}
	return []byte(b.String()), nil
}

// Write replaces a lock file as a whole, if that changes anything, and says whether it did.
func (f File) Write(name string) (changed bool, err error) {
	text, err := f.Text()
	if err != nil {
		return false, err
	}
	if old, err := os.ReadFile(name); err == nil && string(old) == string(text) {
		return false, nil
	}
	if resolved, err := filepath.EvalSymlinks(name); err == nil {
		name = resolved // what a link names is written, and the link stays
	}
	temporary := filepath.Join(filepath.Dir(name), "."+FileName+"-"+rand.Text())
	defer func() {
		if err != nil {
			err = fmt.Errorf("write lock file: %w", err)
		}
	}()
	if err := os.WriteFile(temporary, text, 0o644); err != nil {
		return false, err
	}
	if err := os.Rename(temporary, name); err != nil {
		return false, errors.Join(err, os.Remove(temporary))
	}
	return true, nil
}

// tomlKey is a key, bare where it can be.
func tomlKey(key string) string {
	const bare = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	if key != "" && strings.Trim(key, bare) == "" {
		return key
	}
	return tomlString(key)
}

// tomlString quotes text as TOML's basic strings are.
func tomlString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// lineOf finds the line that a key stands in, or that of the innermost table it belongs to; 0 if neither is found.
func lineOf(text string, key toml.Key) int {
	var table toml.Key
	line, best, depth := 0, 0, 0
	for raw := range strings.Lines(text) {
		line++
		var any map[string]any
		meta, err := toml.Decode(raw, &any)
		keys := meta.Keys()
		if err != nil || len(keys) == 0 {
			continue
		}
		full := keys[len(keys)-1]
		if strings.HasPrefix(strings.TrimSpace(raw), "[") {
			table = full
		} else {
			full = append(slices.Clone(table), full...)
		}
		if len(full) <= len(key) && slices.Equal(full, key[:len(full)]) && len(full) > depth {
			best, depth = line, len(full)
		}
	}
	return best
}
