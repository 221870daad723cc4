package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/config"
)

// version is set by the linker: see the Makefile.
var version = ""

// program is what the command line shares: where it reads and writes, and how it starts processes.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	launcher       *host.Launcher
	args           []string // of this run
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // what was asked for could not be done
	exitUsage  = 2 // what was asked for makes no sense
)

// usageError is a mistake on the command line.
type usageError struct{ error }

// Unwrap returns the cause.
func (e usageError) Unwrap() error { return e.error }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, p program) int {
	p.args = args
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var child exitStatus
	if errors.As(err, &child) {
		return int(child)
	}
	p.printError(ctx, err)
	var failed failedRun
	if errors.As(err, &failed) {
		return failed.code
	}
	var usage usageError
	var request *host.RequestError
	if errors.As(err, &usage) || errors.As(err, &request) {
		return exitUsage
	}
	return exitFailed
}

func (p program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "trowel",
		Short: "Build container images in CI jobs: no daemon, no privileges",
		Long: `Trowel builds container images from Dockerfiles and pushes them, without a daemon and
without privileges that it does not need.

  trowel build -t registry.example.com/app:1 --push .

Exit codes: 0 done, 1 it could not be done, 2 the command line is wrong.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{nearestFlag(cmd, err)} })
	root.AddCommand(p.buildCommand(), p.cacheCommand(), p.copyCommand(), p.doctorCommand(), p.executorCommand(), p.expandCommand(), p.inspectCommand(), p.pluginCommand(), p.registryCommand(), p.versionCommand(), p.warmerCommand())
	return root
}

// nearestFlag adds to an unknown flag's error the flag that was probably meant.
func nearestFlag(cmd *cobra.Command, err error) error {
	_, word, unknown := strings.Cut(err.Error(), "unknown flag: --")
	if !unknown {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	best := config.Nearest(word, names)
	if best == "" {
		return fmt.Errorf("unknown flag --%s", word)
	}
	return hinted{fmt.Errorf("unknown flag --%s", word), "did you mean --" + best + "?"}
}

func (p program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.stdout, "trowel", buildVersion())
			return err
		},
	}
}

// buildVersion is the linker's version, or what the go command noted in the binary.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
