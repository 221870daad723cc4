package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host"
)

// executorPush are the flags of `executor push`.
type executorPush struct {
	kanikoLog
	registryFlags
	destinationFlags
}

func (p program) executorPushCommand() *cobra.Command {
	o := &executorPush{}
	cmd := &cobra.Command{
		Use:     "push [flags] FILE|DIR",
		Short:   "Push an image that was written before: what docker save writes, or an OCI layout",
		Example: "  executor push image.tar --destination registry.example.com/app:1",
		Args:    oneArgument("archive or layout"),
		RunE:    func(cmd *cobra.Command, args []string) error { return p.executorPush(cmd.Context(), o, args[0]) },
	}
	flags := cmd.Flags()
	o.kanikoLog.register(flags)
	o.destinationFlags.register(flags)
	o.registerPull(flags)
	o.registerPush(flags)
	return cmd
}

func (p program) executorPush(ctx context.Context, o *executorPush, from string) error {
	if len(o.destinations) == 0 {
		return usageError{errors.New("push needs a --destination")}
	}
	if err := errors.Join(o.kanikoLog.check(), o.destinationFlags.check()); err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	source := "docker-archive://" + from
	if info.IsDir() {
		source = "oci-layout://" + from
	}
	settings, err := p.loadConfig(&buildFlags{})
	if err != nil {
		return usageError{err}
	}
	o.registryFlags.readEnvironment(p.environ())
	r := host.CopyRequest{
		Source: source, Proxy: settings.Proxy, UserAgent: "trowel/" + buildVersion(),
		SkipPushCheck: host.Switch(o.skipPushCheck), KeepImmutable: host.Switch(o.keepImmutable),
	}
	if r.Registries, r.DefaultRegistry, err = o.apply(settings.Registry, o.destinations); err != nil {
		return err
	}
	if r.RegistryAttempts, err = o.attempts(); err != nil {
		return err
	}
	if r.Credentials, err = p.kanikoCredentials(kanikoHome, &o.registryFlags); err != nil {
		return err
	}
	show, err := host.NewProgress(o.progress(), o.log(p.stderr), p.getenv)
	if err != nil {
		return usageError{err}
	}
	r.Progress = o.reporter(show, nil)
	var result host.Result
	for _, to := range o.destinations {
		r.Destination = to
		copied, err := host.Copy(ctx, r)
		if err != nil {
			return inKanikosWords(errors.Join(err, show.Close()))
		}
		result.Digest = copied.Digest
	}
	return errors.Join(show.Close(), o.report(ctx, result, p.getenv("BUILDER_OUTPUT")), p.printDigest(result))
}
