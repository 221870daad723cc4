package author

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// ProjectFile is what describes a plugin's project.
const ProjectFile = "plugin.toml"

// Project is a plugin's project: its plugin.toml.
type Project struct {
	Name     string   `toml:"name"`
	Kind     sdk.Kind `toml:"kind"`
	Version  string   `toml:"version"`
	Summary  string   `toml:"summary"`
	Home     string   `toml:"home"`
	Source   string   `toml:"source"`
	Language Language `toml:"language"`
	// Main is the file or, with Go, the package that is compiled; empty means what the language's template has.
	Main string `toml:"main"`
	// Arguments are given to the compiler beside those that it needs.
	Arguments []string `toml:"arguments"`
	Features  []string `toml:"features"`
	// ConfigSchema is a file with a JSON Schema of the plugin's configuration.
	ConfigSchema string       `toml:"config-schema"`
	Wants        Wants        `toml:"wants"`
	Test         TestSettings `toml:"test"`

	// Dir is the directory that has the project.
	Dir string `toml:"-"`
}

// Wants are what the user is asked to grant.
type Wants struct {
	Hosts   []string          `toml:"hosts"`
	Env     []string          `toml:"env"`
	Files   []string          `toml:"files"`
	Secrets map[string]Secret `toml:"secrets"`
}

// Secret is a secret that the plugin would use.
type Secret struct {
	Use     string `toml:"use"`
	Summary string `toml:"summary"`
}

// TestSettings are what the conformance tests need to know of a plugin.
type TestSettings struct {
	// Config is the configuration of the plugin under test. {{server}} stands for the address of the server that the tests run.
	Config map[string]any `toml:"config"`
	// Upstream is a server that the tests' server passes requests on to; empty makes it a file server of its own.
	Upstream string `toml:"upstream"`
	// Env are the variables that the plugin finds, as far as it wants them.
	Env map[string]string `toml:"env"`
	// Answers are what the server answers some requests with.
	Answers []Answer `toml:"answers"`
	// Secrets are the values of the secrets that the plugin wants; those that are not here have some value.
	Secrets map[string]string `toml:"secrets"`
	// Known is a registry that a credential provider answers for, and Unknown one that it does not.
	Known   string `toml:"known"`
	Unknown string `toml:"unknown"`
}

// Language is a language that plugins are written in.
type Language string

// The languages that there are templates and compilers for.
const (
	Go             Language = "go"
	C              Language = "c"
	Rust           Language = "rust"
	AssemblyScript Language = "as"
)

// Languages are those that there are.
func Languages() []Language { return []Language{Go, C, Rust, AssemblyScript} }

// Kinds are the kinds of plugins that there are.
func Kinds() []sdk.Kind { return []sdk.Kind{sdk.KindCache, sdk.KindCredential, sdk.KindInstruction} }

// OpenProject reads the project in a directory.
func OpenProject(dir string) (*Project, error) {
	name := filepath.Join(dir, ProjectFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%q has no %s: make a plugin with `trowel plugin new KIND DIR`", dir, ProjectFile)
	}
	if err != nil {
		return nil, err
	}
	p := &Project{Dir: dir}
	meta, err := toml.Decode(string(text), p)
	if err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("%s:%d: %s", name, syntax.Position.Line, syntax.Message)
		}
		return nil, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "toml: "))
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("%s: unknown key %q", name, unknown[0].String())
	}
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func (p *Project) validate() error {
	if !slices.Contains(Languages(), p.Language) {
		return fmt.Errorf("language is %q, and must be one of %q", p.Language, Languages())
	}
	if filepath.IsAbs(p.Main) || strings.HasPrefix(p.Main, "-") {
		return fmt.Errorf("main is %q, and must be a file below the project", p.Main)
	}
	m, err := p.Manifest()
	if err != nil {
		return err
	}
	return m.Validate()
}

// Manifest is what the plugin says of itself to others.
func (p *Project) Manifest() (manifest.Manifest, error) {
	m := manifest.Manifest{
		ABI: abi.Version, Name: p.Name, Version: p.Version, Kinds: []sdk.Kind{p.Kind}, Summary: p.Summary, Home: p.Home,
		Source: p.Source, Language: string(p.Language), Features: p.Features,
		Wants: manifest.Wants{Hosts: p.Wants.Hosts, Env: p.Wants.Env, Files: p.Wants.Files},
	}
	for _, name := range slices.Sorted(maps.Keys(p.Wants.Secrets)) {
		s := p.Wants.Secrets[name]
		m.Wants.Secrets = append(m.Wants.Secrets, manifest.Secret{Name: name, Use: s.Use, Summary: s.Summary})
	}
	if p.ConfigSchema != "" {
		schema, err := os.ReadFile(filepath.Join(p.Dir, p.ConfigSchema))
		if err != nil {
			return manifest.Manifest{}, fmt.Errorf("config-schema: %w", err)
		}
		m.ConfigSchema = schema
	}
	return m, nil
}

// Artifact is the file that the project is built to.
func (p *Project) Artifact(target Target) string {
	name := p.Name
	if target == Wasm {
		name += ".wasm"
	}
	return filepath.Join(p.Dir, name)
}
