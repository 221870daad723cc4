package sdk

import "context"

// Plugin is what a plugin offers: a constructor for each kind it has, called once before the first call of that kind, with
// the user's configuration. The function sdk/plugin.Main serves it.
type Plugin struct {
	Name    string
	Version string

	Cache       func(ctx context.Context, config *Config) (CacheReader, error)
	Credential  func(ctx context.Context, config *Config) (CredentialProvider, error)
	Instruction func(ctx context.Context, config *Config) (InstructionHandler, error)
}

// Kind is a kind of plugin.
type Kind string

// The kinds of plugins.
const (
	KindCache       Kind = "cache"
	KindCredential  Kind = "credential"
	KindInstruction Kind = "instruction"
)
