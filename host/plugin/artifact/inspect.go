package artifact

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/sdk/abi"
)

// Inspection is what can be seen of a plugin without running it.
type Inspection struct {
	Digest   digest.Digest      `json:"digest"` // of the program
	Manifest *manifest.Manifest `json:"manifest,omitempty"`
	Facts    manifest.Facts     `json:"facts"`
	// Problems are why it would not run, or not as a plugin.
	Problems []string `json:"problems,omitempty"`
}

// Inspect looks at a program. It runs nothing.
func Inspect(program []byte) (Inspection, error) {
	facts, err := manifest.Inspect(program)
	if err != nil {
		return Inspection{}, err
	}
	i := Inspection{Digest: digest.FromBytes(program), Facts: facts}
	m, err := manifest.Read(program)
	switch {
	case err == nil:
		i.Manifest = &m
	case errors.Is(err, manifest.ErrNone):
		i.problem("it carries no manifest: `trowel plugin build` adds one")
	default:
		i.problem(err.Error())
	}
	if i.Manifest != nil && m.ABI != abi.Version {
		i.problem(fmt.Sprintf("it speaks version %d of the plugin ABI, and this trowel version %d", m.ABI, abi.Version))
	}
	if facts.Platform.Native() {
		return i, nil
	}
	if err := manifest.Vet(program); err != nil {
		i.problem(err.Error())
	}
	if !slices.Contains(facts.ABI, abi.Version) {
		i.problem(fmt.Sprintf("it does not export trowel_abi_%d", abi.Version))
	}
	for _, e := range facts.Imports {
		if !e.Known() {
			i.problem(fmt.Sprintf("it imports %q from %q, which the host does not have", e.Name, e.Module))
		}
	}
	return i, nil
}

func (i *Inspection) problem(text string) { i.Problems = append(i.Problems, text) }
