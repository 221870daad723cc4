// Package plugin runs the plugins that a user configured, and gives the core values of the sdk interfaces: the core cannot
// tell a plugin from what is compiled in.
//
//	spec.go      what the user says of a plugin
//	wasm/        plugins as WebAssembly modules     process/   plugins as processes
//	service/     what a plugin may ask of the host, and the grants that decide it
//	transfer/    moves blobs as a plugin planned it
//	lock/        trowel.lock                        artifact/  plugins in registries
package plugin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host/internal/size"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

// Spec is a table [plugins.NAME] of trowel.toml.
type Spec struct {
	Kind sdk.Kind `toml:"kind"`
	// Source is "builtin:NAME", "file:PATH" or "oci://REFERENCE"; or "attach:SOCKET" for a process that its author started by
	// hand, in a debugger say.
	Source string `toml:"source"`
	// Trust is "native" for a plugin that is a process: it can do what the user can.
	Trust string `toml:"trust"`
	// Match are the registries that a credential plugin is asked about: hosts and host/path, with "*" for a label or a part
	// of one.
	Match []string `toml:"match"`
	// Roles of a cache: "read" and "write"; empty means both.
	Roles []string `toml:"roles"`
	// RecordKey authenticates the records of a cache that others can write to.
	RecordKey *service.SecretSource `toml:"record-key"`
	// Pure is false for an instruction plugin whose plans must not be kept: they depend on more than their inputs.
	Pure   *bool          `toml:"pure"`
	Allow  service.Grants `toml:"allow"`
	Limits Limits         `toml:"limits"`
	// Config is the plugin's own.
	Config map[string]any `toml:"config"`

	// Dir is what relative paths in the table are relative to: the directory of the file that has it.
	Dir string `toml:"-"`
}

// Limits bound what a plugin may use. What is not set has a default by its kind.
type Limits struct {
	Memory    size.Bytes    `toml:"memory"`
	Timeout   time.Duration `toml:"timeout"` // of one call; more where it moves bytes
	Start     time.Duration `toml:"start"`   // until it is ready
	Instances int           `toml:"instances"`
}

// The one value of [Spec.Trust].
const trustNative = "native" // it may run as a process

// Validate says what is wrong with the table of the plugin of that name.
func (s Spec) Validate(name string) error {
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}) {
		return errors.New("its name must be letters, digits, '-', '_' and '.'")
	}
	switch s.Kind {
	case sdk.KindCache, sdk.KindCredential, sdk.KindInstruction:
	case "":
		return errors.New(`kind is missing: it is "cache", "credential" or "instruction"`)
	default:
		return fmt.Errorf(`kind is %q, and must be "cache", "credential" or "instruction"`, s.Kind)
	}
	if err := s.validateSource(); err != nil {
		return err
	}
	if err := s.validateForKind(); err != nil {
		return err
	}
	if s.Limits.Timeout < 0 || s.Limits.Start < 0 || s.Limits.Instances < 0 {
		return errors.New("a limit is negative")
	}
	return s.Allow.Validate(s.Kind)
}

func (s Spec) validateSource() error {
	scheme, rest, ok := strings.Cut(s.Source, ":")
	if !ok || strings.TrimPrefix(rest, "//") == "" || !slices.Contains([]string{"builtin", "file", "oci", "attach"}, scheme) {
		return fmt.Errorf(`source is %q, and must be "builtin:NAME", "file:PATH" or "oci://REFERENCE"`, s.Source)
	}
	if scheme == "attach" && s.Trust != trustNative {
		return fmt.Errorf("source %q is a process: it needs trust = %q", s.Source, trustNative)
	}
	if s.Trust != "" && s.Trust != trustNative {
		return fmt.Errorf("trust is %q, and can only be %q", s.Trust, trustNative)
	}
	return nil
}

// validateForKind finds settings that mean nothing for the plugin's kind.
func (s Spec) validateForKind() error {
	for _, r := range s.Roles {
		if r != "read" && r != "write" {
			return fmt.Errorf(`role %q: want "read" or "write"`, r)
		}
	}
	switch {
	case len(s.Match) > 0 && s.Kind != sdk.KindCredential:
		return fmt.Errorf("match is for credential plugins, and this is a %s plugin", s.Kind)
	case len(s.Match) == 0 && s.Kind == sdk.KindCredential:
		return errors.New(`match is missing: the registries that the plugin is asked about, such as ["registry.example.com"]`)
	case (len(s.Roles) > 0 || s.RecordKey != nil) && s.Kind != sdk.KindCache:
		return fmt.Errorf("roles and record-key are for cache plugins, and this is a %s plugin", s.Kind)
	case (s.Pure != nil || s.Allow.Files != nil) && s.Kind != sdk.KindInstruction:
		return fmt.Errorf("pure and allow.files are for instruction plugins, and this is a %s plugin", s.Kind)
	}
	return nil
}
