package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func (p program) pluginListCommand() *cobra.Command {
	f := &pluginFlags{}
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the plugins that trowel.toml names, and where they stand", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return p.withPlugins(f, p.listPlugins) },
	}
	f.register(cmd.Flags())
	return cmd
}

func (p program) listPlugins(s *pluginSession) error {
	names, err := s.names(nil)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, name := range names {
		r := s.request(name)
		version := first(s.locked.Plugins[name].Version, "-")
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", oneLine(name), r.Kind, oneLine(version), s.client.State(r, s.locked), oneLine(r.Source))
	}
	return table.Flush()
}
