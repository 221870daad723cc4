package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/plugin/author"
	"github.com/trowel-build/trowel/sdk"
)

// errTestsFailed says that what was found has been printed.
var errTestsFailed = errors.New("the plugin does not do what it has to")

func (p program) pluginTestCommand() *cobra.Command {
	f := &pluginFlags{}
	var attach, only string
	var verbose, suite bool
	cmd := &cobra.Command{
		Use:   "test [flags] [FILE|DIR]",
		Short: "Test a plugin that was built",
		Long: `Test a plugin that was built: whether it does what the contract says of its kind, what it makes of servers that
refuse, are slow, break off or hang, whether it keeps memory, whether equal calls have equal plans, and the cases that its
author wrote in tests/*.json. It runs as it would in a build, and reaches no network but a server that the test runs.`,
		Args: atMostOne("plugin"),
		RunE: func(cmd *cobra.Command, args []string) error {
			least := sdk.LevelWarning
			if verbose {
				least = sdk.LevelDebug
			}
			which, err := regexp.Compile(only)
			if err != nil {
				return usageError{fmt.Errorf("--run: %w", err)}
			}
			subject, err := openSubject(argumentOr(args, "."), attach)
			if err != nil {
				return err
			}
			settings, err := p.loadConfig(&f.buildFlags)
			if err != nil {
				return usageError{err}
			}
			dir := compileDir(&f.buildFlags, settings)
			if suite {
				author.RunSuite(subject, dir) // which does not return
			}
			report, err := author.Test(cmd.Context(), author.TestRequest{
				Subject: subject, CompileDir: dir, Suite: p.suiteCommand, Only: which,
				Observe: func(r author.Result) { fmt.Fprint(p.stdout, host.Printable(r.Text())) },
				Log:     p.pluginLog(least),
			})
			if err != nil {
				return adviseOn(err)
			}
			if err := report.WriteSummary(p.stdout); err != nil {
				return err
			}
			if report.Failed() > 0 {
				return fmt.Errorf("test plugin %q: %w", subject.Name, errTestsFailed)
			}
			return cmd.Context().Err()
		},
	}
	cmd.Flags().StringVar(&f.config, "config", "", "read this configuration `FILE` too")
	cmd.Flags().StringVar(&f.cacheDir, "cache-dir", "", "keep the compiled module below this `DIR` (default: trowel in the user's cache directory)")
	cmd.Flags().StringVar(&attach, "attach", "", "test the process that serves at this `SOCKET`: see TROWEL_PLUGIN_SERVE in sdk/README.md")
	cmd.Flags().StringVar(&only, "run", "", "run only the checks whose names match this `REGEXP`, as in --run '^case:'")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show what the plugin logs")
	cmd.Flags().BoolVar(&suite, "suite", false, "run the suite alone, in the form of go test")
	if err := cmd.Flags().MarkHidden("suite"); err != nil {
		panic(err)
	}
	return cmd
}

// suiteCommand is this command once more, for the suite alone.
func (p program) suiteCommand(ctx context.Context) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, append(p.args[:len(p.args):len(p.args)], "--suite")...)
	cmd.Args[0] = os.Args[0]
	return cmd, nil
}

// openSubject opens a plugin that was built; attach takes the place of its program.
func openSubject(path, attach string) (*author.Subject, error) {
	subject, err := author.OpenSubject(path)
	if err != nil {
		return nil, usageError{err}
	}
	subject.Attach = attach
	return subject, nil
}

// pluginLog shows what a plugin says of a level or above.
func (p program) pluginLog(least sdk.Level) func(sdk.Level, string) {
	levels := []sdk.Level{sdk.LevelDebug, sdk.LevelInfo, sdk.LevelWarning, sdk.LevelError}
	return func(level sdk.Level, text string) {
		if slices.Index(levels, level) >= slices.Index(levels, least) {
			fmt.Fprintf(p.stderr, "plugin: %s: %s\n", level, host.Printable(text))
		}
	}
}
