package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/spf13/cobra"
)

func (p program) registryCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "registry", Short: "A registry for trying things out", RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var listen string
	serve := &cobra.Command{
		Use:   "serve",
		Short: "Serve an empty registry on this machine until interrupted",
		Long: `Serve an empty registry on this machine until interrupted. It is for trying out: images are
lost when it ends, and anyone who reaches the address can read and write.

The address is printed on standard output once the registry answers.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.serveRegistry(cmd.Context(), listen) },
	}
	serve.Flags().StringVar(&listen, "listen", "127.0.0.1:5000", "the `ADDRESS` to listen on; port 0 chooses a free one")
	cmd.AddCommand(serve)
	return cmd
}

func (p program) serveRegistry(ctx context.Context, address string) (err error) {
	dir, err := os.MkdirTemp("", "trowel-registry-")
	if err != nil {
		return fmt.Errorf("make a directory for blobs: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve registry: %w", err)
	}
	server := &http.Server{
		Handler:           registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(dir))),
		ReadHeaderTimeout: time.Minute,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	if _, err := fmt.Fprintln(p.stdout, listener.Addr()); err != nil {
		return errors.Join(err, server.Close())
	}
	select {
	case <-ctx.Done():
		return server.Close()
	case err := <-failed:
		return fmt.Errorf("serve registry: %w", err)
	}
}
