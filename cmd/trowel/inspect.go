package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host"
)

func (p program) inspectCommand() *cobra.Command {
	f := &buildFlags{}
	var files, asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] IMAGE",
		Short: "Show what an image is made of",
		Example: `  trowel inspect debian:12
  trowel inspect --files oci-layout://out:latest
  trowel inspect docker-archive://app.tar`,
		Args: oneArgument("image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, err := p.loadConfig(f)
			if err != nil {
				return usageError{err}
			}
			found, err := host.Inspect(cmd.Context(), host.InspectRequest{
				Reference: args[0], Platform: f.platform, Files: host.Switch(files),
				Registries: settings.Registry, Proxy: settings.Proxy, Credentials: p.credentials(), UserAgent: "trowel/" + buildVersion(),
			})
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(p.stdout)
				encoder.SetIndent("", "  ")
				return encoder.Encode(found)
			}
			return p.printInspection(cmd.Context(), found)
		},
	}
	cmd.Flags().StringVar(&f.platform, "platform", "", "the image for this `PLATFORM` (default: this machine's)")
	cmd.Flags().StringVar(&f.config, "config", "", "read this configuration `FILE` too")
	cmd.Flags().BoolVar(&files, "files", false, "list the files, as all layers together show them")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// printInspection writes an image for people. What it says comes from strangers, and is made printable.
func (p program) printInspection(_ context.Context, i host.Inspection) error {
	line := func(name, format string, values ...any) {
		fmt.Fprintf(p.stdout, "%-12s %s\n", name, oneLine(fmt.Sprintf(format, values...)))
	}
	line("image", "%s", i.Reference)
	line("digest", "%s", i.Digest)
	line("platform", "%s", i.Platform)
	c := i.Image.Config
	for _, kv := range c.Env {
		line("env", "%s", kv)
	}
	if c.User != "" {
		line("user", "%s", c.User)
	}
	if c.WorkingDir != "" {
		line("workdir", "%s", c.WorkingDir)
	}
	if len(c.Entrypoint) > 0 {
		line("entrypoint", "%q", c.Entrypoint)
	}
	if len(c.Cmd) > 0 {
		line("cmd", "%q", c.Cmd)
	}
	for _, h := range i.Image.History {
		line("history", "%s", h.CreatedBy)
	}
	for _, l := range i.Layers {
		line("layer", "%s %d bytes", l.Digest, l.Size)
	}
	for _, f := range i.Files {
		target := ""
		if f.Link != "" {
			target = " -> " + f.Link
		}
		line("file", "%s %d:%d %10d %s%s", f.Mode, f.UID, f.GID, f.Size, f.Path, target)
	}
	return nil
}

// oneLine is [host.Printable] of what must not make lines of its own.
func oneLine(text string) string {
	return host.Printable(strings.NewReplacer("\n", "\uFFFD", "\t", " ").Replace(text))
}
