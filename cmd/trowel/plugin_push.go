package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host/plugin/artifact"
)

func (p program) pluginPushCommand() *cobra.Command {
	f := &pluginFlags{}
	var signKey string
	cmd := &cobra.Command{
		Use:   "push [flags] FILE... oci://REFERENCE",
		Short: "Push a plugin to a registry, and sign it",
		Long: `Push a plugin to a registry: a WebAssembly module, or programs for several platforms under one name.
Standard output gets the digest. The same files always have the same digest, unless SOURCE_DATE_EPOCH
says when they were made.

With --sign-key the plugin is signed; the signature lies in the same repository, beside the plugin, in the
form of cosign's signatures with keys, and ` + "`cosign verify --key`" + ` finds it.`,
		Example: `  trowel plugin push s3.wasm oci://registry.example.com/plugins/s3:1.2
  trowel plugin push --sign-key key.pem tool-amd64 tool-arm64 oci://registry.example.com/plugins/tool:2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			to, files, err := pushArguments(args)
			if err != nil {
				return err
			}
			return p.withPlugins(f, func(s *pluginSession) error { return p.pushPlugin(cmd.Context(), s, to, files, signKey) })
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&signKey, "sign-key", "", "sign with the private key in this `FILE`: Ed25519 or ECDSA, in PEM")
	return cmd
}

// pushArguments tells the reference from the files, wherever it stands.
func pushArguments(args []string) (to string, files []string, err error) {
	for _, a := range args {
		switch {
		case !isRemote(a):
			files = append(files, a)
		case to != "":
			return "", nil, usageError{fmt.Errorf("there are two references, %q and %q", to, a)}
		default:
			to = a
		}
	}
	if to == "" || len(files) == 0 {
		return "", nil, hinted{
			usageError{errors.New("a plugin is pushed from a file, or several, to a reference")},
			"for example: trowel plugin push s3.wasm oci://registry.example.com/plugins/s3:1.2",
		}
	}
	return to, files, nil
}

func (p program) pushPlugin(ctx context.Context, s *pluginSession, to string, files []string, signKey string) error {
	var options artifact.PushOptions
	if signKey != "" {
		var err error
		if options.Signer, err = artifact.LoadSigner(signKey); err != nil {
			return usageError{err}
		}
	}
	created, err := epoch(p.getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	if created != nil {
		options.Created = *created
	}
	var programs [][]byte
	for _, file := range files {
		content, err := artifact.ReadFile(file)
		if err != nil {
			return err
		}
		programs = append(programs, content)
	}
	digest, err := s.client.Push(ctx, to, programs, options)
	if err != nil {
		return err
	}
	_, err = io.WriteString(p.stdout, digest.String()+"\n")
	return err
}
