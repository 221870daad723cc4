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
	"time"

	"github.com/trowel-build/trowel/host/internal/size"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

// Spec is a table [plugins.NAME] of trowel.toml.
type Spec struct {
	Kind sdk.Kind `toml:"kind"`
	// Source is "builtin:NAME", "file:PATH" or "oci://REFERENCE".
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
}

// Limits bound what a plugin may use. What is not set has a default by its kind.
type Limits struct {
	Memory    size.Bytes    `toml:"memory"`
	Timeout   time.Duration `toml:"timeout"` // of one call
	Instances int           `toml:"instances"`
}
