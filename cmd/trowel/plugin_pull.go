package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host/plugin/artifact"
	"github.com/trowel-build/trowel/host/plugin/manifest"
)

func (p program) pluginPullCommand() *cobra.Command {
	f := &pluginFlags{}
	cmd := &cobra.Command{
		Use:   "pull [flags] oci://REFERENCE",
		Short: "Write a plugin from a registry to a file",
		Long: `Write a plugin from a registry to a file, as it runs, whichever form it has in the registry. Standard
output gets the digest of what the reference names, unless it gets the plugin.`,
		Example: `  trowel plugin pull oci://registry.example.com/plugins/s3:1.2 -o s3.wasm
  trowel plugin pull --platform linux/arm64 oci://registry.example.com/plugins/tool:2 -o tool`,
		Args: oneArgument("reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.outfile == "" {
				return usageError{errors.New("name the file to write with -o; - is standard output")}
			}
			return p.withPlugins(f, func(s *pluginSession) error { return p.pullPlugin(cmd.Context(), f, s, args[0]) })
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVarP(&f.outfile, "output", "o", "", "write to this `FILE`; - is standard output")
	cmd.Flags().StringVar(&f.platform, "platform", "", "the program for this `PLATFORM`: wasm, linux/amd64, … (default: wasm, or else this machine's)")
	return cmd
}

func (p program) pullPlugin(ctx context.Context, f *pluginFlags, s *pluginSession, from string) error {
	var platforms []manifest.Platform
	if f.platform != "" {
		platforms = append(platforms, manifest.Platform(f.platform))
	}
	found, digest, err := s.client.Pull(ctx, from, platforms...)
	if err != nil {
		return err
	}
	if len(platforms) > 0 && found.Platform != platforms[0] {
		return fmt.Errorf("pull plugin %q: it is for %s", from, found.Platform)
	}
	if f.outfile == "-" {
		_, err := p.stdout.Write(found.Bytes)
		return err
	}
	if err := writeProgram(f.outfile, found); err != nil {
		return err
	}
	_, err = io.WriteString(p.stdout, digest.String()+"\n")
	return err
}

// writeProgram writes a program to a file, whole or not at all.
func writeProgram(name string, found artifact.Program) (err error) {
	mode := os.FileMode(0o644)
	if found.Platform.Native() {
		mode = 0o755
	}
	temporary := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"-"+rand.Text())
	if err := os.WriteFile(temporary, found.Bytes, mode); err != nil {
		return fmt.Errorf("write plugin: %w", err)
	}
	if err := os.Rename(temporary, name); err != nil {
		return errors.Join(fmt.Errorf("write plugin: %w", err), os.Remove(temporary))
	}
	return nil
}
