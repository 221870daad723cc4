package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host/plugin/author"
)

func (p program) pluginBuildCommand() *cobra.Command {
	var output, target string
	var optimize bool
	cmd := &cobra.Command{
		Use:   "build [flags] [DIR]",
		Short: "Build the plugin of a directory",
		Long: `Build the plugin of a directory, as its plugin.toml says: with the language's own compiler, and with what
plugin.toml says of it inside. Equal sources make equal bytes.`,
		Example: `  trowel plugin build
  trowel plugin build --target native -o greet ./greet`,
		Args: atMostOne("directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := author.BuildRequest{Target: author.Target(target), Output: output, Log: p.stderr}
			if request.Target != author.Wasm && request.Target != author.Native {
				return usageError{fmt.Errorf("--target is %q, and must be wasm or native", target)}
			}
			if optimize {
				request.Optimize = author.OptimizeWasm
			}
			var err error
			if request.Project, err = author.OpenProject(argumentOr(args, ".")); err != nil {
				return usageError{err}
			}
			built, err := author.Build(cmd.Context(), request)
			if err != nil {
				return adviseOn(err)
			}
			fmt.Fprintf(p.stderr, "built %s %s, %d bytes\n", built.Manifest.Name, built.Manifest.Version, built.Size)
			_, err = fmt.Fprintln(p.stdout, built.File)
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this `FILE` (default: NAME.wasm or, of a native program, NAME in the directory)")
	cmd.Flags().StringVar(&target, "target", string(author.Wasm), "build a module (wasm), or a program for a process (native; Go alone)")
	cmd.Flags().BoolVar(&optimize, "optimize", false, "make the module smaller and faster with wasm-opt")
	return cmd
}

// atMostOne takes an argument or none.
func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError{fmt.Errorf("%s takes at most one argument, the %s, and got %d", cmd.CommandPath(), what, len(args))}
		}
		return nil
	}
}

func argumentOr(args []string, fallback string) string {
	if len(args) > 0 {
		return args[0]
	}
	return fallback
}
