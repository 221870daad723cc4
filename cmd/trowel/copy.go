package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host"
)

func (p program) copyCommand() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:   "copy [flags] SOURCE DESTINATION",
		Short: "Copy an image between registries, OCI layouts and archives",
		Long: `Copy an image between registries, OCI layouts and archives, byte for byte: its digest stays.
An index is copied with all images that it lists, unless --platform picks one of them.

  registry.example.com/app:1      in a registry; a source may name a digest: app@sha256:…
  oci-layout://DIR[:TAG]          an OCI layout; the tag is "latest" unless given
  oci-archive://FILE[:TAG]        the same as a tar
  docker-archive://FILE[:NAME]    what docker save writes and docker load reads: one platform

A destination's FILE may be -, which is standard output. Otherwise standard output gets the digest.`,
		Example: `  trowel copy debian:12 registry.example.com/mirror/debian:12
  trowel copy --platform linux/arm64 debian:12 oci-layout://debian:12
  trowel copy oci-archive://app.tar registry.example.com/app:1
  trowel copy --platform linux/amd64 debian:12 docker-archive://- | docker load`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				return nil
			}
			return usageError{fmt.Errorf("%s takes two arguments, a source and a destination, and got %d", cmd.CommandPath(), len(args))}
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.copy(cmd.Context(), f, args[0], args[1]) },
	}
	cmd.Flags().StringVar(&f.platform, "platform", "", "copy the image for this `PLATFORM` alone (default: all there are)")
	cmd.Flags().StringVar(&f.progress, "progress", "auto", "how progress is shown: auto, tty, plain, quiet or rawjson")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "show no progress, only the digest")
	cmd.Flags().StringVar(&f.config, "config", "", "read this configuration `FILE` too")
	return cmd
}

func (p program) copy(ctx context.Context, f *buildFlags, from, to string) error {
	settings, err := p.loadConfig(f)
	if err != nil {
		return usageError{err}
	}
	show, err := host.NewProgress(f.progressMode(), p.stderr, p.getenv)
	if err != nil {
		return usageError{err}
	}
	result, err := host.Copy(ctx, host.CopyRequest{
		Source: from, Destination: to, Platform: f.platform, Stdout: p.stdout,
		Registries: settings.Registry, Proxy: settings.Proxy, Credentials: p.credentials(), UserAgent: "trowel/" + buildVersion(), Progress: show,
	})
	if err := errors.Join(err, show.Close()); err != nil {
		return err
	}
	if _, file, _ := strings.Cut(to, "://"); file == "-" || strings.HasPrefix(file, "-:") {
		return nil // standard output is the image
	}
	_, err = io.WriteString(p.stdout, result.Digest+"\n")
	return err
}
