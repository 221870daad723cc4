package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host"
)

func (p program) doctorCommand() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Tell what this machine permits, and how RUN would be isolated here",
		Long: `Tell what this machine permits, and how RUN would be isolated here. Nothing is guessed: what a
step does is tried, without a command, and the system's answer is shown.

The exit code is 1 if RUN cannot work here. A Dockerfile without RUN builds all the same.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.doctor(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.workDir, "work-dir", "", "try it in this `DIR`, as build would (default: beside the cache)")
	cmd.Flags().StringVar(&f.cacheDir, "cache-dir", "", "the local cache's `DIR` (default: trowel in the user's cache directory)")
	cmd.Flags().StringVar(&f.isolation, "isolation", "", "what build would be given: "+strings.Join(host.Isolations(), ", "))
	cmd.Flags().StringVar(&f.minIsolation, "min-isolation", "", "what build would be given: "+strings.Join(host.MinIsolations(), ", "))
	cmd.Flags().StringVar(&f.config, "config", "", "read this configuration `FILE` too")
	return cmd
}

func (p program) doctor(ctx context.Context, f *buildFlags) error {
	settings, err := p.loadConfig(f)
	if err != nil {
		return usageError{err}
	}
	dir, _ := cacheDir(f, settings)
	work := first(f.workDir, settings.Build.WorkDir, workBeside(dir))
	fmt.Fprintf(p.stdout, "trowel %s, user %d\n", buildVersion(), os.Getuid())
	fmt.Fprintf(p.stdout, "local cache: %s\n", first(dir, "none"))
	fmt.Fprintf(p.stdout, "work directory: %s\n", first(work, os.TempDir()))
	report, err := host.Probe(ctx, p.launcher, host.ProbeRequest{
		WorkDir: work, Isolation: first(f.isolation, settings.Build.Isolation), MinIsolation: first(f.minIsolation, settings.Build.MinIsolation),
	})
	if err != nil {
		return err
	}
	for _, a := range report.Attempts {
		if a.Err == nil {
			fmt.Fprintf(p.stdout, "%s: works\n", a.Name)
			continue
		}
		fmt.Fprintf(p.stdout, "%s: %s\n", a.Name, host.Printable(a.Err.Error()))
		if a.Hint != "" {
			fmt.Fprintf(p.stdout, "  hint: %s\n", a.Hint)
		}
	}
	if report.Chosen == "" {
		return hinted{errors.New("RUN cannot work here"), "a Dockerfile without RUN builds all the same"}
	}
	fmt.Fprintf(p.stdout, "RUN: %s\n", report.Chosen)
	return nil
}
