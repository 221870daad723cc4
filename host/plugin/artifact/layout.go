package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/plugin/manifest"
)

// Media types. Those of the first group make up the CNCF's layout.
const (
	typeWasmConfig = "application/vnd.wasm.config.v0+json"
	typeWasm       = "application/wasm"

	typePlugin  = "application/vnd.trowel.plugin.v1" // of manifests and indexes, as artifactType
	typeProgram = "application/vnd.trowel.plugin.v1.elf"

	annotationManifest = "vnd.trowel.plugin.manifest" // the plugin's manifest, as JSON
)

// oldWasmTypes are those that others have given to layers that are a module.
func oldWasmTypes() []string {
	return []string{"application/vnd.wasm.content.layer.v1+wasm", "application/vnd.module.wasm.content.layer.v1+wasm"}
}

// The most that is read of a registry.
const (
	maxManifest = 4 << 20
	maxProgram  = 128 << 20 // as it runs and as it travels; a Wasm module may have only [manifest.MaxModule]
	maxPieces   = 64        // layers of a manifest, manifests of an index
)

// wasmConfig is the config of the CNCF's layout. "Created" is not optional for all who read it.
type wasmConfig struct {
	Created      string   `json:"created"`
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	LayerDigests []string `json:"layerDigests"`
}

// platformOf is the platform of an index's entry, or empty if it is none that plugins have.
func platformOf(p *ocispec.Platform) manifest.Platform {
	switch {
	case p == nil:
		return ""
	case p.Architecture == "wasm" && slices.Contains([]string{"wasip1", "wasi", ""}, p.OS):
		return manifest.Wasm
	case p.OS == "linux" && p.Architecture != "":
		return manifest.Platform("linux/" + p.Architecture)
	}
	return ""
}

// ociPlatform is the reverse.
func ociPlatform(p manifest.Platform) *ocispec.Platform {
	if !p.Native() {
		return &ocispec.Platform{OS: "wasip1", Architecture: "wasm"}
	}
	os, architecture, _ := strings.Cut(string(p), "/")
	return &ocispec.Platform{OS: os, Architecture: architecture}
}

// document is a manifest or an index.
type document struct {
	Config    *ocispec.Descriptor  `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
}

// parseDocument reads a manifest or an index, but nothing that could be taken for both.
func parseDocument(raw []byte) (document, error) {
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, fmt.Errorf("its manifest is not valid JSON: %w", err)
	}
	if (d.Manifests != nil) == (d.Layers != nil) {
		return d, errors.New("its manifest is neither that of an image nor an index, or both")
	}
	if len(d.Layers) > maxPieces || len(d.Manifests) > maxPieces {
		return d, fmt.Errorf("its manifest lists more than %d things", maxPieces)
	}
	return d, nil
}

// layer picks the layer that has the program: the one layer whose type is a program's, or the one layer there is.
func (d document) layer() (ocispec.Descriptor, error) {
	var programs []ocispec.Descriptor
	for _, l := range d.Layers {
		if l.MediaType == typeWasm || l.MediaType == typeProgram || slices.Contains(oldWasmTypes(), l.MediaType) {
			programs = append(programs, l)
		}
	}
	if len(programs) == 0 {
		programs = d.Layers
	}
	if len(programs) != 1 {
		return ocispec.Descriptor{}, fmt.Errorf("it has %d layers, and a plugin is one", len(programs))
	}
	l := programs[0]
	if err := l.Digest.Validate(); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("its layer's digest %.100q: %w", string(l.Digest), err)
	}
	if l.Size < 0 || l.Size > maxProgram {
		return ocispec.Descriptor{}, fmt.Errorf("its layer has %d bytes, and may have %d", l.Size, maxProgram)
	}
	return l, nil
}
