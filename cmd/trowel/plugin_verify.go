package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host/plugin/artifact"
)

func (p program) pluginVerifyCommand() *cobra.Command {
	f := &pluginFlags{}
	cmd := &cobra.Command{
		Use:   "verify [flags] [NAME|oci://REFERENCE...]",
		Short: "Check plugins against trowel.lock, and their signatures",
		Long: `Check that the plugins of trowel.toml, or those given, are what trowel.lock says, and, if there are
keys, that one of them signed each plugin that comes from a registry. Keys are those of --key, or else
those of [plugin-policy] in trowel.toml. What is installed is verified without a network. What was signed by
` + "`cosign sign --key`" + ` counts as well, unless it is a bundle (--new-bundle-format).`,
		Example: `  trowel plugin verify
  trowel plugin verify --key vendor.pub oci://registry.example.com/plugins/s3:1.2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withPlugins(f, func(s *pluginSession) error { return p.verifyPlugins(cmd.Context(), f, s, args) })
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringArrayVar(&f.keys, "key", nil, "a `FILE` with a public key, in PEM; may be repeated")
	return cmd
}

func (p program) verifyPlugins(ctx context.Context, f *pluginFlags, s *pluginSession, args []string) error {
	keys, err := loadKeys(f.keys)
	if err != nil {
		return err
	}
	named := slices.DeleteFunc(slices.Clone(args), isRemote)
	if len(args) == 0 || len(named) > 0 {
		if named, err = s.names(named); err != nil {
			return err
		}
	}
	remote := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return !isRemote(a) })
	return s.each(ctx, append(named, remote...), func(name string) error {
		if isRemote(name) {
			found, top, by, err := s.client.VerifyReference(ctx, name, keys)
			if err != nil {
				return err
			}
			return p.printVerified(name, found, top.String(), by)
		}
		found, by, err := s.client.Verify(ctx, s.request(name), s.locked, keys)
		if err != nil {
			return err
		}
		return p.printVerified(name, found, s.locked.Plugins[name].Digest.String(), by)
	})
}

func (p program) printVerified(name string, found artifact.Program, digest, by string) error {
	if by != "" {
		by = "  signed by " + by
	}
	_, err := fmt.Fprintf(p.stdout, "%s  %s  %s  %s%s\n", oneLine(name), first(found.Manifest.Version, "-"), found.Platform, digest, by)
	return err
}
