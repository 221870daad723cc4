package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/builtin/cache/local"
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
			return p.withCache(f, func(c *local.Cache) error { return p.listCache(cmd.Context(), c) })
		},
	}
}

func (p program) listCache(ctx context.Context, c *local.Cache) error {
	entries, err := c.List(ctx)
	if err != nil {
		return err
	}
	var total int64
	for _, e := range entries {
		total += e.Bytes
		if _, err := fmt.Fprintf(p.stdout, "%s  %12d  %s%s\n", e.LastUsed.UTC().Format(time.RFC3339), e.Bytes, e.Key, e.Digest); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(p.stdout, "%d entries, %d bytes\n", len(entries), total)
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
			return p.withCache(f, func(c *local.Cache) error {
				freed, err := c.Prune(cmd.Context(), options)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(p.stdout, "removed %d entries, %d bytes\n", freed.Entries, freed.Bytes)
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "remove everything")
	cmd.Flags().DurationVar(&olderThan, "older-than", 0, "remove what was not used for this `DURATION`, such as 168h")
	cmd.Flags().StringVar(&keep, "keep", "", "remove until no more than this `SIZE` is left, such as 10GiB")
	return cmd
}

// withCache calls do with the local cache.
func (p program) withCache(f *buildFlags, do func(*local.Cache) error) error {
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
	return errors.Join(do(c), c.Close())
}
