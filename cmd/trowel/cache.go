package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/builtin/cache/local"
	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/config"
)

func (p program) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cache", Short: "Look at the local cache and make it smaller", RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	f := &buildFlags{}
	cmd.PersistentFlags().StringVar(&f.cacheDir, "cache-dir", "", "the cache's `DIR` (default: trowel in the user's cache directory)")
	cmd.PersistentFlags().StringVar(&f.config, "config", "", "read this configuration `FILE` too")
	cmd.AddCommand(p.cacheListCommand(f), p.cachePruneCommand(f))
	return cmd
}

func (p program) cacheListCommand(f *buildFlags) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List what the cache holds, the most recently used first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withCache(cmd.Context(), f, func(c *local.Cache, mounts string) error { return p.listCache(cmd.Context(), c, mounts) })
		},
	}
}

func (p program) listCache(ctx context.Context, c *local.Cache, mountsDir string) error {
	entries, err := c.List(ctx)
	if err != nil {
		return err
	}
	mounts, err := host.ListCacheMounts(ctx, mountsDir)
	if err != nil {
		return err
	}
	var total int64
	show := func(used time.Time, bytes int64, what string) error {
		total += bytes
		_, err := fmt.Fprintf(p.stdout, "%s  %12d  %s\n", used.UTC().Format(time.RFC3339), bytes, what)
		return err
	}
	for _, m := range slices.Backward(mounts) {
		// The namespace of an ID is mostly empty.
		if err := show(m.LastUsed, m.Bytes, "cache mount "+host.Printable(strings.TrimPrefix(m.ID, "/"))); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if err := show(e.LastUsed, e.Bytes, string(e.Key)+string(e.Digest)); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(p.stdout, "%d entries, %d bytes\n", len(entries)+len(mounts), total)
	return err
}

func (p program) cachePruneCommand(f *buildFlags) *cobra.Command {
	var all bool
	var olderThan time.Duration
	var keep string
	cmd := &cobra.Command{
		Use: "prune", Short: "Remove what was not used for longest; without flags, what exceeds the size limit", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options := local.PruneOptions{OlderThan: olderThan}
			if all {
				options.Scope = local.ScopeAll
			}
			if keep != "" {
				size, err := config.ParseSize(keep)
				if err != nil {
					return usageError{err}
				}
				options.KeepBytes = int64(size)
			}
			return p.withCache(cmd.Context(), f, func(c *local.Cache, mounts string) error { return p.pruneCache(cmd.Context(), c, mounts, options) })
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "remove everything")
	cmd.Flags().DurationVar(&olderThan, "older-than", 0, "remove what was not used for this `DURATION`, such as 168h")
	cmd.Flags().StringVar(&keep, "keep", "", "remove until no more than this `SIZE` is left, such as 10GiB")
	return cmd
}

// pruneCache removes cache mounts before all else: that alone may take a user namespace.
func (p program) pruneCache(ctx context.Context, c *local.Cache, mountsDir string, options local.PruneOptions) error {
	limits := host.CacheMountLimits{Scope: host.CacheMountScope(options.Scope), OlderThan: options.OlderThan, Keep: options.KeepBytes}
	if options == (local.PruneOptions{}) {
		limits.Keep = c.MaxSize()
	}
	mounts, err := host.PruneCacheMounts(ctx, mountsDir, limits)
	if err != nil {
		return err
	}
	freed, err := c.Prune(ctx, options)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "removed %d entries, %d bytes\n", freed.Entries+mounts.Entries, freed.Bytes+mounts.Bytes)
	return err
}

// withCache calls do with the local cache and the directory of cache mounts. What takes a user namespace is done by this same
// command line in one.
func (p program) withCache(ctx context.Context, f *buildFlags, do func(c *local.Cache, mounts string) error) error {
	settings, err := p.loadConfig(f)
	if err != nil {
		return usageError{err}
	}
	dir, _ := cacheDir(f, settings)
	if dir == "" {
		return usageError{errors.New("no cache directory: name one with --cache-dir")}
	}
	c, err := local.Open(local.Config{Dir: dir, MaxSize: int64(settings.Build.CacheSize)})
	if err != nil {
		return err
	}
	err = errors.Join(do(c, mountsBeside(dir)), c.Close())
	code, again, inner := p.inUserNamespace(ctx, err, func() error { return nil })
	switch {
	case !again:
		return err
	case inner == nil && code != 0:
		return exitStatus(code)
	}
	return inner
}
