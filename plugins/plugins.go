// Package plugins holds Trowel's own plugins, each a directory of this one and a real plugin: it imports package sdk and
// nothing else of Trowel. `make plugins` compiles them to WebAssembly, and a binary built after that carries them, so that
// `source = "builtin:NAME"` works without a network. It carries their machine code too, for the processors that they were compiled
// on: see [Code].
package plugins

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/klauspost/compress/zstd"
)

//go:embed dist
var dist embed.FS

// maxModule bounds a plugin, unpacked.
const maxModule = 32 << 20

// ErrUnknown says that this binary carries no plugin of that name.
var ErrUnknown = errors.New("this binary carries no such plugin")

// Names are those of the plugins that this binary carries, sorted.
func Names() []string {
	entries, err := fs.ReadDir(dist, "dist")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".wasm.zst"); ok {
			names = append(names, name)
		}
	}
	return names
}

// DigestSuffix is what follows a plugin's name in that of the file with its digest.
const DigestSuffix = ".sha256"

// Digest returns the SHA-256 of a plugin's module, in hexadecimal, or "" if this binary does not carry it. It is for what is done in
// advance: whoever needs the module sums it.
func Digest(name string) string {
	sum, err := dist.ReadFile("dist/" + name + ".wasm" + DigestSuffix)
	if err != nil {
		return ""
	}
	return string(sum)
}

// Module returns a plugin's WebAssembly module, or an error wrapping [ErrUnknown].
func Module(name string) ([]byte, error) {
	packed, err := dist.ReadFile("dist/" + name + ".wasm.zst")
	if err != nil {
		if names := Names(); len(names) > 0 {
			return nil, fmt.Errorf("plugin %q: %w: it has %s", name, ErrUnknown, strings.Join(names, ", "))
		}
		return nil, fmt.Errorf("plugin %q: %w: it was built without them, which make build would not", name, ErrUnknown)
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxModule), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("unpack plugin %q: %w", name, err)
	}
	defer r.Close()
	module, err := r.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("unpack plugin %q: %w", name, err)
	}
	return module, nil
}
