package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/trowel-build/trowel/host"
)

func (p program) expandCommand() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:   "expand [flags] CONTEXT",
		Short: "Print a Dockerfile with the instructions of plugins written out",
		Long: `Print the Dockerfile with each instruction of a plugin written out in the Dockerfile language, so that
any builder can build it. The flags are those of build; stages that the target does not need are left
out.`,
		Example: `  trowel expand . > Dockerfile.plain
  trowel expand -f deploy/Dockerfile --target server .`,
		Args: oneArgument("build context"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.expand(cmd.Context(), f, args[0]) },
	}
	f.register(cmd.Flags())
	return cmd
}

func (p program) expand(ctx context.Context, f *buildFlags, dir string) error {
	var text string
	done, err := p.withRequest(ctx, f, dir, func(r host.Request) (err error) {
		text, err = host.Expand(ctx, r)
		return err
	})
	if err != nil || done == inNamespace {
		return err
	}
	if out, ok := p.stdout.(*os.File); ok && term.IsTerminal(int(out.Fd())) {
		text = host.Printable(text) // what a plugin wrote may be meant for the terminal
	}
	_, err = io.WriteString(p.stdout, text)
	return err
}
