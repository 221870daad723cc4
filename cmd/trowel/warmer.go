package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/trowel-build/trowel/builtin/cache/local"
	"github.com/trowel-build/trowel/host"
)

// warmerFlags are the values of the flags of kaniko's warmer.
type warmerFlags struct {
	kanikoLog
	registryFlags

	images, buildArgs              []string
	cacheDir, dockerfile, platform string

	flags *pflag.FlagSet
}

// warmerIdle are the warmer's flags without a meaning here.
var warmerIdle = []idle{
	{name: "cache-ttl", kind: stringValue, def: "336h0m0s", why: "what is kept is found by its digest, and tags are looked up anew each time"},
}

func (o *warmerFlags) register(flags *pflag.FlagSet) {
	o.flags = flags
	o.kanikoLog.register(flags)
	flags.StringArrayVarP(&o.images, "image", "i", nil, "keep this `IMAGE`; may be repeated")
	flags.StringVarP(&o.cacheDir, "cache-dir", "c", "/cache", "keep images in this `DIR`: in trowel below it")
	flags.StringVarP(&o.dockerfile, "dockerfile", "d", "", "keep the images that this Dockerfile names, a path or an http(s) address")
	flags.StringArrayVar(&o.buildArgs, "build-arg", nil, "set an ARG of the Dockerfile: NAME=VALUE, or NAME to take it from the environment")
	flags.StringVar(&o.platform, "customPlatform", "", "keep the images for this `PLATFORM` (default: this machine's)")
	o.registerPull(flags)
	addIdle(flags, warmerIdle)
	force := idle{name: "force", kind: boolValue, def: "false", why: "what is kept is found by its digest, and need not be replaced"}
	flags.VarPF(&idleValue{force, force.def}, force.name, "f", "accepted and without a meaning: "+force.why).NoOptDefVal = "true"
	mark(flags, force.name, markIdle, force.why)
	mark(flags, "registry-map", markEnv, "KANIKO_REGISTRY_MAP")
	mark(flags, "registry-mirror", markEnv, "KANIKO_REGISTRY_MIRROR")
}

func (p program) warmerCommand() *cobra.Command {
	o := &warmerFlags{}
	cmd := &cobra.Command{
		Use:   nameWarmer + " [flags]",
		Short: "Keep base images in a directory as kaniko's warmer does, with its flags",
		Long: `Keep base images where builds by executor find them, with the flags of kaniko's warmer. Called by the name
warmer, this program is that command.`,
		Example: `  warmer --cache-dir /cache --image debian:12 --image golang:1.26
  warmer --dockerfile Dockerfile`,
		Args: kanikoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return inKanikosWords(p.warm(cmd.Context(), o)) },
	}
	o.register(cmd.Flags())
	return cmd
}

// warm keeps the images that are named, and those that a Dockerfile names.
func (p program) warm(ctx context.Context, o *warmerFlags) (err error) {
	if err := o.kanikoLog.check(); err != nil {
		return err
	}
	if len(o.images) == 0 && o.dockerfile == "" {
		return usageError{errors.New("name an --image, or a --dockerfile whose images are to be kept")}
	}
	environment := p.environ()
	o.registryFlags.readEnvironment(environment)
	r, size, err := p.warmerRequest(o, environment)
	if err != nil {
		return err
	}
	cache, err := local.Open(local.Config{Dir: filepath.Join(o.cacheDir, "trowel"), MaxSize: size})
	if err != nil {
		return err
	}
	show, err := host.NewProgress(o.progress(), o.log(p.stderr), p.getenv)
	if err != nil {
		return errors.Join(usageError{err}, cache.Close())
	}
	defer func() { err = errors.Join(err, show.Close(), cache.Close()) }()
	r.Caches = []host.Cache{{Name: "local", Backend: cache, Holds: host.CacheBases}}
	r.WorkDir = workBeside(filepath.Join(o.cacheDir, "trowel"))
	var said []remark
	if _, without := notes(o.flags); without != "" {
		said = append(said, inform("%s", without))
	}
	r.Progress = o.reporter(show, said)
	return p.warmAll(ctx, o, r)
}

// warmAll warms for a Dockerfile that names the images, and for the one that is given.
func (p program) warmAll(ctx context.Context, o *warmerFlags, r host.Request) (err error) {
	if r.Context, err = os.MkdirTemp("", "warmer-"); err != nil { // nothing of a context is read, but there has to be one
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.Context)) }()
	if len(o.images) > 0 {
		named := r
		named.Dockerfile, named.BuildArgs = "-", nil
		var text strings.Builder
		for _, image := range o.images {
			if _, err := host.ParseName(image); err != nil {
				return usageError{fmt.Errorf("--image: %w", err)}
			}
			fmt.Fprintf(&text, "FROM %s\n", image)
		}
		named.Stdin = strings.NewReader(text.String())
		if err := host.Warm(ctx, named); err != nil {
			return err
		}
	}
	if o.dockerfile == "" {
		return nil
	}
	r.Dockerfile = o.dockerfile
	return host.Warm(ctx, r)
}

// warmerRequest is what is common to both, and how large the cache may grow.
func (p program) warmerRequest(o *warmerFlags, environment map[string]string) (r host.Request, size int64, err error) {
	settings, err := p.loadConfig(&buildFlags{})
	if err != nil {
		return r, 0, usageError{err}
	}
	r = host.Request{Proxy: settings.Proxy, UserAgent: "trowel/" + buildVersion(), BuildArgs: map[string]string{}}
	if r.Registries, r.DefaultRegistry, err = o.apply(settings.Registry, nil); err != nil {
		return r, 0, err
	}
	if r.RegistryAttempts, err = o.attempts(); err != nil {
		return r, 0, err
	}
	if r.Credentials, err = p.kanikoCredentials(kanikoHome, &o.registryFlags); err != nil {
		return r, 0, err
	}
	if o.platform != "" {
		r.Platforms = []string{kanikoPlatform(o.platform)}
	}
	for _, arg := range o.buildArgs {
		name, value, given := strings.Cut(arg, "=")
		if !given {
			value = environment[name]
		}
		r.BuildArgs[name] = value
	}
	return r, int64(settings.Build.CacheSize), nil
}
