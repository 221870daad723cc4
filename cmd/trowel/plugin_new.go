package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel"
	"github.com/trowel-build/trowel/host/plugin/author"
	"github.com/trowel-build/trowel/sdk"
)

// pluginAuthorCommands are the tools of those who write plugins.
func (p program) pluginAuthorCommands() []*cobra.Command {
	return []*cobra.Command{
		p.pluginNewCommand(), p.pluginBuildCommand(), p.pluginTestCommand(), p.pluginCallCommand(), p.pluginDevCommand(),
	}
}

func (p program) pluginNewCommand() *cobra.Command {
	var language string
	cmd := &cobra.Command{
		Use:   "new [flags] KIND DIR",
		Short: "Start a plugin of your own: cache, credential or instruction",
		Long: `Start a plugin of your own: cache, credential or instruction.

What is made builds and passes its tests as it is, without a network: the SDK's source is in it.`,
		Example: `  trowel plugin new instruction greet
  trowel plugin new credential vault --lang rust`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError{fmt.Errorf("trowel plugin new takes a kind (cache, credential or instruction) and a new directory, and got %d arguments", len(args))}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := author.New(author.NewRequest{
				Kind: sdk.Kind(args[0]), Language: author.Language(language), Dir: args[1], SDK: trowel.SDK(),
			})
			if err != nil {
				return usageError{err}
			}
			for _, name := range files {
				if !strings.HasPrefix(name, "trowel-sdk/") {
					fmt.Fprintln(p.stdout, filepath.Join(args[1], name))
				}
			}
			fmt.Fprintf(p.stderr, "next: cd %s && %strowel plugin build && trowel plugin test\n", args[1], beforeBuild(author.Language(language)))
			return nil
		},
	}
	cmd.Flags().StringVar(&language, "lang", string(author.Go), "write it in this `LANGUAGE`: go, c, rust or as (AssemblyScript)")
	return cmd
}

// beforeBuild is what has to be done once before a plugin in a language can be built.
func beforeBuild(language author.Language) string {
	if language == author.AssemblyScript {
		return "npm install && "
	}
	return ""
}
