package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host/plugin/artifact"
	"github.com/trowel-build/trowel/host/plugin/lock"
)

// warmer prepares a program so that its first start in a build is a fast one.
type warmer func(ctx context.Context, f *pluginFlags, name string, installed artifact.Program) error

// pluginInstallCommand installs plugins and calls warm, if it is not nil, for each.
func (p program) pluginInstallCommand(warm warmer) *cobra.Command {
	f := &pluginFlags{}
	var upgrade bool
	cmd := &cobra.Command{
		Use:   "install [flags] [NAME...]",
		Short: "Fetch the plugins that trowel.toml names, and lock them",
		Long: `Fetch the plugins that trowel.toml names, or those of the given names, and write trowel.lock.

A plugin from a registry stays what it was locked as while its source stays the same; --upgrade looks
its tag up again. A plugin that is a file is locked as what the file now is. What a plugin asks for
and was not granted is listed, with what to write into trowel.toml to grant it.

With --frozen the lock file is not written: what is not locked, or locked as something else, is an
error. That fetches everything a later build without a network needs.`,
		Example: `  trowel plugin install
  trowel plugin install --upgrade team-cache
  trowel plugin install --frozen --plugin-dir /opt/plugins`,
		RunE: func(cmd *cobra.Command, args []string) error {
			how := artifact.Keep
			if upgrade {
				how = artifact.Upgrade
			}
			if upgrade && f.frozen {
				return usageError{errors.New("--upgrade changes what is locked, and --frozen says that nothing may")}
			}
			return p.withPlugins(f, func(s *pluginSession) error {
				return p.installPlugins(cmd.Context(), f, s, args, how, warm)
			})
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().BoolVarP(&upgrade, "upgrade", "u", false, "look tags up again")
	cmd.Flags().BoolVar(&f.frozen, "frozen", false, "fetch what is locked, and change nothing")
	return cmd
}

func (p program) installPlugins(ctx context.Context, f *pluginFlags, s *pluginSession, args []string, how artifact.Renewal, warm warmer) error {
	names, err := s.names(args)
	if err != nil {
		return err
	}
	next := lock.File{Plugins: maps.Clone(s.locked.Plugins)}
	if next.Plugins == nil {
		next.Plugins = map[string]lock.Entry{}
	}
	err = s.each(ctx, names, func(name string) error {
		entry, err := p.installPlugin(ctx, f, s, name, how, warm)
		if err == nil {
			next.Plugins[name] = entry
		}
		return err
	})
	if f.frozen || ctx.Err() != nil {
		return err
	}
	for name := range next.Plugins {
		if _, still := s.settings.Plugins[name]; !still && len(args) == 0 {
			delete(next.Plugins, name)
			fmt.Fprintf(p.stdout, "%s  removed\n", oneLine(name))
		}
	}
	// What could be installed is locked, whatever became of the others.
	if len(next.Plugins)+len(s.locked.Plugins) > 0 {
		_, writeErr := next.Write(s.lockFile)
		err = errors.Join(err, writeErr)
	}
	return err
}

// installPlugin installs one plugin and says what it is.
func (p program) installPlugin(ctx context.Context, f *pluginFlags, s *pluginSession, name string, how artifact.Renewal, warm warmer) (lock.Entry, error) {
	r := s.request(name)
	if f.frozen {
		if _, _, err := s.locked.Check(lock.Wanted{Name: name, Source: r.Source, Grants: r.Grants.Digest()}, lock.Frozen); err != nil {
			return lock.Entry{}, err
		}
	}
	in, err := s.client.Install(ctx, r, s.locked, how)
	if err != nil {
		return lock.Entry{}, err
	}
	if f.frozen && !reflect.DeepEqual(in.Entry, in.Before) {
		if err := in.Before.Match(name, in.Entry.Digest, lock.Frozen); err != nil {
			return lock.Entry{}, err
		}
		return lock.Entry{}, fmt.Errorf("it is not what %s says", s.lockFile)
	}
	if warm != nil {
		if err := warm(ctx, f, name, in.Program); err != nil {
			return lock.Entry{}, err
		}
	}
	p.printInstalled(name, r, in)
	return in.Entry, nil
}

// printInstalled writes a line about a plugin, and warnings about what it wants. What plugins say of themselves was
// checked to be printable.
func (p program) printInstalled(name string, r artifact.Request, in artifact.Installed) {
	news := "unchanged"
	switch {
	case in.Before.Source == "":
		news = "new"
	case in.Before.Digest != in.Entry.Digest && in.Before.Version != in.Entry.Version:
		news = "was " + first(in.Before.Version, in.Before.Digest.String())
	case in.Before.Digest != in.Entry.Digest:
		news = "was " + in.Before.Digest.String()
	case !reflect.DeepEqual(in.Before, in.Entry):
		news = "locked anew"
	}
	signed := ""
	if in.SignedBy != "" {
		signed = "  signed by " + in.SignedBy
	}
	fmt.Fprintf(p.stdout, "%s  %s  %s  %s  %s%s\n", name, first(in.Entry.Version, "-"), in.Platform, in.Entry.Digest, news, signed)
	if in.Unverified != nil {
		fmt.Fprintf(p.stderr, "trowel: warning: plugin %q: %s\n", name, oneLine(in.Unverified.Error()))
	}
	for _, line := range in.More.Describe() {
		fmt.Fprintf(p.stderr, "trowel: warning: plugin %q wants more than the version before: %s\n", name, oneLine(line))
	}
	if in.Missing.Empty() {
		return
	}
	fmt.Fprintf(p.stderr, "trowel: warning: plugin %q wants what it has not been granted; to grant it, write into trowel.toml:\n", name)
	for _, line := range in.Missing.TOML(name, r.Grants) {
		fmt.Fprintf(p.stderr, "    %s\n", oneLine(line))
	}
}
