package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/trowel-build/trowel/host/config"
	"github.com/trowel-build/trowel/host/plugin/artifact"
	"github.com/trowel-build/trowel/host/plugin/lock"
	"github.com/trowel-build/trowel/host/plugin/store"
	"github.com/trowel-build/trowel/plugins"
)

// pluginFlags are the flags of all commands that deal with installed plugins.
type pluginFlags struct {
	buildFlags        // of which config and cache-dir
	pluginDir, lock   string
	frozen            bool
	keys              []string
	platform, outfile string
}

func (f *pluginFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.config, "config", "", "read this configuration `FILE` too")
	flags.StringVar(&f.cacheDir, "cache-dir", "", "the cache's `DIR`, below which plugins lie unless told otherwise (default: trowel in the user's cache directory)")
	flags.StringVar(&f.pluginDir, "plugin-dir", "", "keep installed plugins in this `DIR` (default: TROWEL_PLUGIN_DIR, or plugins in the cache's directory)")
	flags.StringVar(&f.lock, "lock", "", "the lock `FILE` (default: TROWEL_LOCK, or trowel.lock)")
}

func (p program) pluginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "Install, inspect and distribute plugins",
		Long: `Install, inspect and distribute plugins.

What trowel.toml names by a tag, "trowel plugin install" looks up and writes into trowel.lock, by
digest; a build runs what is locked and nothing else.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			err := error(usageError{fmt.Errorf("unknown command %q", "plugin "+args[0])})
			var names []string
			for _, c := range cmd.Commands() {
				names = append(names, c.Name())
			}
			if best := config.Nearest(args[0], names); best != "" {
				err = hinted{err, "did you mean trowel plugin " + best + "?"}
			}
			return err
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	// Plugins of others: how they get here, and what they are. The tools for authors are added by a line of their own.
	cmd.AddCommand(
		p.pluginInstallCommand(p.warmPlugin), p.pluginListCommand(), p.pluginVerifyCommand(), p.pluginInspectCommand(),
		p.pluginPullCommand(), p.pluginPushCommand(),
	)
	cmd.AddCommand(p.pluginAuthorCommands()...)
	return cmd
}

// pluginSession is what commands about plugins have in common.
type pluginSession struct {
	settings config.Config
	client   *artifact.Client
	lockFile string
	locked   lock.File
}

// withPlugins calls do with the configuration, the lock file and a client for plugins. Errors get their hints.
func (p program) withPlugins(f *pluginFlags, do func(*pluginSession) error) error {
	s := &pluginSession{lockFile: first(f.lock, p.getenv("TROWEL_LOCK"), lock.FileName)}
	var err error
	if s.settings, err = p.loadConfig(&f.buildFlags); err != nil {
		return usageError{err}
	}
	if s.locked, err = lock.Read(s.lockFile); err != nil {
		return adviseOn(err)
	}
	if s.client, err = p.pluginClient(p.pluginDir(f, s.settings), s.settings); err != nil {
		return usageError{err}
	}
	defer s.client.Close()
	return adviseOn(do(s))
}

// pluginClient gets plugins from where they are, and keeps them in a directory, if there is one.
func (p program) pluginClient(dir string, settings config.Config) (*artifact.Client, error) {
	options := artifact.Options{
		Registries: settings.Registry, Proxy: settings.Proxy, Credentials: p.credentials(), UserAgent: "trowel/" + buildVersion(),
		Builtin: plugins.Module, Policy: settings.PluginPolicy,
	}
	if dir != "" {
		var err error
		if options.Store, err = store.Open(dir); err != nil {
			return nil, err
		}
	}
	return artifact.New(options)
}

// pluginDir is where installed plugins lie; empty if there is no place for them.
func (p program) pluginDir(f *pluginFlags, settings config.Config) string {
	if dir := first(f.pluginDir, p.getenv("TROWEL_PLUGIN_DIR")); dir != "" {
		return dir
	}
	if dir, _ := cacheDir(&f.buildFlags, settings); dir != "" {
		return filepath.Join(dir, "plugins")
	}
	return ""
}

// request is a plugin of the configuration as the client wants it.
func (s *pluginSession) request(name string) artifact.Request {
	spec := s.settings.Plugins[name]
	return artifact.Request{Name: name, Source: spec.Source, Kind: spec.Kind, Trust: spec.Trust, Grants: spec.Allow, Dir: spec.Dir}
}

// names are the plugins that arguments name, or all there are.
func (s *pluginSession) names(args []string) ([]string, error) {
	all := slices.Sorted(maps.Keys(s.settings.Plugins))
	all = slices.DeleteFunc(all, func(name string) bool { return s.settings.Plugins[name].Source == sourceRegistry }) // nothing to install
	if len(args) == 0 {
		return all, nil
	}
	for _, name := range args {
		if !slices.Contains(all, name) {
			err := error(usageError{fmt.Errorf("trowel.toml has no plugin %q", name)})
			if best := config.Nearest(name, all); best != "" {
				err = hinted{err, "did you mean " + best + "?"}
			}
			return nil, err
		}
	}
	named := slices.Clone(args)
	slices.Sort(named)
	return slices.Compact(named), nil
}

// loadKeys reads the public keys that flags name.
func loadKeys(files []string) ([]artifact.Key, error) {
	var keys []artifact.Key
	for _, file := range files {
		key, err := artifact.LoadKey(file)
		if err != nil {
			return nil, usageError{err}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// adviseOn gives an error that knows what the user can do the form that is printed.
func adviseOn(err error) error {
	var already hinted
	var advice interface{ Hint() string }
	if err == nil || errors.As(err, &already) || !errors.As(err, &advice) || advice.Hint() == "" {
		return err
	}
	return hinted{err, advice.Hint()}
}

// each calls do for all plugins, and joins what went wrong with them.
func (s *pluginSession) each(ctx context.Context, names []string, do func(name string) error) error {
	var failed []error
	for _, name := range names {
		if err := do(name); err != nil {
			failed = append(failed, fmt.Errorf("plugin %q: %w", name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

// isRemote says whether an argument is a plugin in a registry.
func isRemote(arg string) bool { return strings.HasPrefix(arg, "oci://") }
