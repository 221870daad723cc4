// Package config reads trowel.toml and the TROWEL_* environment into one validated [Config].
//
// Later wins: defaults, the user's file, the project's file, the environment, flags. Each setting is taken from the last
// place that sets it; tables such as [registry."host"] are merged by their key. The flags are the command line's business.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/BurntSushi/toml"

	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/internal/size"
	"github.com/trowel-build/trowel/host/plugin"
	"github.com/trowel-build/trowel/host/plugin/artifact"
)

// FileName is what the configuration files are called.
const FileName = "trowel.toml"

// Registry says how one registry is reached.
type Registry = registry.Settings

// RegistryCure is a setting of a registry that something failed for want of.
type RegistryCure = registry.Cure

// The settings that can be wanting.
const (
	CureTLS        = registry.CureTLS
	CureAuthority  = registry.CureAuthority
	CureClientCert = registry.CureClientCert
)

// TLSMode says how the connection to a registry is protected.
type TLSMode = registry.TLSMode

// The ways to protect a connection; the empty one is what is usual.
const (
	TLSVerify   = registry.TLSVerify
	TLSSkip     = registry.TLSSkip
	TLSInsecure = registry.TLSInsecure
	TLSOff      = registry.TLSOff
)

// Proxy says through which proxies registries are reached.
type Proxy = registry.Proxy

// Config is what a trowel.toml holds.
type Config struct {
	Build Build `toml:"build"`
	// Registry holds settings by the registry's host, with its port where there is one.
	Registry map[string]Registry `toml:"registry"`
	// Proxy says through which proxies registries are reached.
	Proxy Proxy `toml:"proxy"`
	// Plugins are what is plugged in, by the name that the user gave it.
	Plugins map[string]plugin.Spec `toml:"plugins"`
	// PluginPolicy says which plugins are acceptable.
	PluginPolicy artifact.Policy `toml:"plugin-policy"`

	// PluginOrder are the names of Plugins in the order in which the files have them: the order in which caches and
	// credential providers are asked.
	PluginOrder []string `toml:"-"`
}

// Build are the settings of the table [build].
type Build struct {
	// Compression of layers: gzip, zstd or none.
	Compression string `toml:"compression"`
	// CompressionLevel is the codec's own scale; 0 means its default here.
	CompressionLevel int `toml:"compression-level"`
	// Isolation of RUN: auto, namespaces, inplace, supervised or chroot.
	Isolation string `toml:"isolation"`
	// MinIsolation is the weakest isolation of RUN that is taken: inplace, chroot, supervised or namespaces.
	MinIsolation string `toml:"min-isolation"`
	// CacheDir holds the local cache; empty means trowel below the user's cache directory.
	CacheDir string `toml:"cache-dir"`
	// CacheSize is how large the local cache may grow, such as "20GiB"; 0 means no limit.
	CacheSize Size `toml:"cache-size"`
	// WorkDir holds what a build needs while it runs; empty means a directory beside the cache.
	WorkDir string `toml:"work-dir"`
	// TreeMemory is how much memory unpacked layers may take while processes run; absent means a quarter of what is
	// free, at most 2 GiB.
	TreeMemory *Size `toml:"tree-memory"`
}

// Size is a number of bytes, written as "512MiB", "2GB" or a plain number.
type Size = size.Bytes

// ParseSize reads a size.
func ParseSize(text string) (Size, error) { return size.Parse(text) }

// ParseDockerSize reads a size as flags of docker have it, where "1GB" is 1024³ bytes.
func ParseDockerSize(text string) (Size, error) { return size.ParseDocker(text) }

// Sources says where a configuration is read from.
type Sources struct {
	// Files are read in this order, later ones winning. One that does not exist or cannot be read is passed over.
	Files []string
	// Required is a file that the user named; it must exist. It is read after Files.
	Required string
	// Getenv looks up the environment.
	Getenv func(string) string
}

// DefaultFiles are the user's file and the project's, which lies in the directory the program was started in.
func DefaultFiles() []string {
	files := []string{FileName}
	if dir, err := os.UserConfigDir(); err == nil {
		files = append([]string{filepath.Join(dir, "trowel", FileName)}, files...)
	}
	return files
}

// Load reads, merges and validates a configuration.
func Load(from Sources) (Config, error) {
	c := Config{Build: Build{Compression: "gzip", Isolation: "auto", CacheSize: 20 << 30}}
	for _, name := range from.Files {
		// A job often runs as a user whose HOME is another's, or nobody's.
		err := readFile(&c, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.ENOTDIR) {
			return Config{}, err
		}
	}
	if from.Required != "" {
		if err := readFile(&c, from.Required); err != nil {
			return Config{}, err
		}
	}
	if err := environment(&c, from.Getenv); err != nil {
		return Config{}, err
	}
	return c, c.validate()
}

func readFile(c *Config, name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	return decode(c, name, string(text))
}

// decode reads one file over what c holds already.
func decode(c *Config, name, text string) error {
	before, plugins := c.Registry, c.Plugins
	c.Registry, c.Plugins = nil, nil
	meta, err := toml.Decode(text, c)
	if err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return fmt.Errorf("%s:%d:%d: %s", name, syntax.Position.Line, syntax.Position.Col, syntax.Message)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return unknownKey(name, text, unknown[0])
	}
	for host, settings := range c.Registry {
		if err := settings.Validate(); err != nil {
			return fmt.Errorf("%s:%d: registry %q: %w", name, lineOf(text, toml.Key{"registry", host}), host, err)
		}
	}
	for id, spec := range c.Plugins {
		spec.Dir = filepath.Dir(name)
		if err := spec.Validate(id); err != nil {
			return fmt.Errorf("%s:%d: plugin %q: %w", name, lineOf(text, toml.Key{"plugins", id}), id, err)
		}
		c.Plugins[id] = spec
	}
	if meta.IsDefined("plugin-policy", "keys") {
		for i, key := range c.PluginPolicy.Keys {
			if !filepath.IsAbs(key) {
				c.PluginPolicy.Keys[i] = filepath.Join(filepath.Dir(name), key)
			}
		}
	}
	c.Registry, c.Plugins = merge(before, c.Registry), merge(plugins, c.Plugins)
	for _, key := range meta.Keys() {
		if len(key) >= 2 && key[0] == "plugins" && !slices.Contains(c.PluginOrder, key[1]) {
			c.PluginOrder = append(c.PluginOrder, key[1])
		}
	}
	return nil
}

// merge is before with what after has over it.
func merge[V any](before, after map[string]V) map[string]V {
	if len(before) == 0 {
		return after
	}
	out := maps.Clone(before)
	maps.Copy(out, after)
	return out
}

// variables are the settings that the environment can make, by the variable's name.
func variables(b *Build) map[string]func(string) error {
	text := func(to *string) func(string) error {
		return func(v string) error { *to = v; return nil }
	}
	return map[string]func(string) error{
		"TROWEL_COMPRESSION":   text(&b.Compression),
		"TROWEL_ISOLATION":     text(&b.Isolation),
		"TROWEL_MIN_ISOLATION": text(&b.MinIsolation),
		"TROWEL_CACHE_DIR":     text(&b.CacheDir),
		"TROWEL_WORK_DIR":      text(&b.WorkDir),
		"TROWEL_CACHE_SIZE":    func(v string) error { return b.CacheSize.UnmarshalText([]byte(v)) },
		"TROWEL_TREE_MEMORY": func(v string) error {
			b.TreeMemory = new(Size)
			return b.TreeMemory.UnmarshalText([]byte(v))
		},
		"TROWEL_COMPRESSION_LEVEL": func(v string) (err error) {
			b.CompressionLevel, err = strconv.Atoi(v)
			return err
		},
	}
}

func environment(c *Config, getenv func(string) string) error {
	if getenv == nil {
		return nil
	}
	for name, set := range variables(&c.Build) {
		if v := getenv(name); v != "" {
			if err := set(v); err != nil {
				return fmt.Errorf("environment variable %s=%q: %w", name, v, err)
			}
		}
	}
	return nil
}

func (c Config) validate() error {
	if err := oneOf("build.compression", c.Build.Compression, "gzip", "zstd", "none"); err != nil {
		return err
	}
	if err := c.Proxy.Validate(); err != nil {
		return err
	}
	if err := oneOf("build.min-isolation", c.Build.MinIsolation, "", "inplace", "chroot", "supervised", "namespaces"); err != nil {
		return err
	}
	return oneOf("build.isolation", c.Build.Isolation, "auto", "namespaces", "inplace", "supervised", "chroot")
}

func oneOf(key, value string, valid ...string) error {
	for _, v := range valid {
		if value == v {
			return nil
		}
	}
	return fmt.Errorf("%s is %q, and must be one of %s", key, value, strings.Join(valid, ", "))
}
