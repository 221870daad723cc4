package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host/plugin/artifact"
	"github.com/trowel-build/trowel/host/plugin/lock"
	"github.com/trowel-build/trowel/host/plugin/manifest"
)

func (p program) pluginInspectCommand() *cobra.Command {
	f := &pluginFlags{}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] NAME|FILE|oci://REFERENCE",
		Short: "Show what a plugin is and wants, without running it",
		Long: `Show what a plugin is and wants, without running it: one that trowel.toml names, a file, or one in a
registry. For one of trowel.toml it is shown what of that has not been granted.`,
		Example: `  trowel plugin inspect team-cache
  trowel plugin inspect ./s3.wasm
  trowel plugin inspect --json oci://registry.example.com/plugins/s3:1.2`,
		Args: oneArgument("plugin"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withPlugins(f, func(s *pluginSession) error {
				found, err := s.inspect(cmd.Context(), f, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					encoder := json.NewEncoder(p.stdout)
					encoder.SetIndent("", "  ")
					return encoder.Encode(found)
				}
				return p.printPlugin(found)
			})
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&f.platform, "platform", "", "of a reference, the program for this `PLATFORM` (default: wasm, or else this machine's)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// pluginInspection is what is shown of a plugin.
type pluginInspection struct {
	Source string `json:"source"`
	// Reference is the digest of what a reference names.
	Reference string `json:"reference,omitempty"`
	artifact.Inspection
	// Missing is what the plugin wants and trowel.toml does not grant.
	Missing *manifest.Wants `json:"missing,omitempty"`
}

// inspect finds a plugin by what the user calls it.
func (s *pluginSession) inspect(ctx context.Context, f *pluginFlags, what string) (pluginInspection, error) {
	found := pluginInspection{Source: what}
	var program []byte
	var err error
	switch _, isName := s.settings.Plugins[what]; {
	case isName:
		r := s.request(what)
		var resolved artifact.Program
		if resolved, err = s.client.Resolve(ctx, r, s.locked, lock.Open); err != nil {
			return found, fmt.Errorf("plugin %q: %w", what, err)
		}
		program, found.Source, found.Missing = resolved.Bytes, r.Source, &resolved.Missing
		if isRemote(r.Source) {
			found.Reference = s.locked.Plugins[what].Digest.String()
		}
	case isRemote(what):
		var platforms []manifest.Platform
		if f.platform != "" {
			platforms = append(platforms, manifest.Platform(f.platform))
		}
		pulled, top, pullErr := s.client.Pull(ctx, what, platforms...)
		program, found.Reference, err = pulled.Bytes, top.String(), pullErr
	default:
		program, err = artifact.ReadFile(what)
	}
	if err != nil {
		return found, err
	}
	found.Inspection, err = artifact.Inspect(program)
	return found, err
}

// printPlugin writes what a plugin is for people.
func (p program) printPlugin(i pluginInspection) error {
	line := func(name, format string, values ...any) {
		if text := fmt.Sprintf(format, values...); text != "" {
			fmt.Fprintf(p.stdout, "%-12s %s\n", name, oneLine(text))
		}
	}
	line("source", "%s", i.Source)
	line("reference", "%s", i.Reference)
	line("digest", "%s", i.Digest)
	if m := i.Manifest; m != nil {
		line("name", "%s", strings.TrimSpace(m.Name+" "+m.Version))
		for _, k := range m.Kinds {
			line("kind", "%s", k)
		}
		line("summary", "%s", m.Summary)
		line("home", "%s", m.Home)
		line("code", "%s", m.Source)
		line("language", "%s", m.Language)
		line("abi", "%d", m.ABI)
		line("features", "%s", strings.Join(m.Features, ", "))
		if len(m.ConfigSchema) > 0 {
			line("config", "has a schema: see --json")
		}
		for _, want := range m.Wants.Describe() {
			line("wants", "%s", want)
		}
	}
	p.printFacts(i.Facts, line)
	if i.Missing != nil {
		for _, want := range i.Missing.Describe() {
			line("not granted", "%s", want)
		}
	}
	for _, problem := range i.Problems {
		line("problem", "%s", problem)
	}
	return nil
}

func (p program) printFacts(f manifest.Facts, line func(name, format string, values ...any)) {
	line("platform", "%s", f.Platform)
	line("size", "%d bytes", f.Size)
	if f.Interpreter != "" {
		line("needs", "%s", f.Interpreter)
	}
	if f.Memory != nil {
		most := "no limit of its own"
		if f.Memory.Max != nil {
			most = fmt.Sprintf("at most %d", *f.Memory.Max)
		}
		line("memory", "%d pages of 64 KiB to begin with, %s", f.Memory.Min, most)
	}
	for _, e := range f.Imports {
		line("imports", "%s %s.%s%s", e.Kind, e.Module, e.Name, e.Type)
	}
	for _, e := range f.Exports {
		line("exports", "%s %s%s", e.Kind, e.Name, e.Type)
	}
}
