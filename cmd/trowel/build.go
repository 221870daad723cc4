package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/builtin/cache/export"
	"github.com/trowel-build/trowel/builtin/cache/local"
	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/config"
	"github.com/trowel-build/trowel/sdk"
)

func (p program) buildCommand() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:   "build [flags] CONTEXT",
		Short: "Build an image from a Dockerfile",
		Long: `Build an image from a Dockerfile. The flags are those of docker buildx build.

CONTEXT is a directory, a tar archive (plain or compressed with gzip, bzip2, xz or zstd), the http(s) address of an
archive or of a Dockerfile, a git repository, or - for an archive or a Dockerfile on standard input. Only a directory is
read behind its .dockerignore.

A repository is an http(s) address that ends in .git, ssh://, git://, git@HOST:PATH or file:///PATH, followed by
#REF:DIRECTORY or by a query of ref, tag, branch, commit, subdir, submodules, keep-git-dir, fetch-by-commit and mtime. The
secrets GIT_AUTH_TOKEN[.HOST] and GIT_AUTH_HEADER[.HOST] say who asks. It takes the program git.

Progress goes to standard error; standard output gets the image's digest and nothing else.`,
		Example: `  trowel build -t registry.example.com/app:1 --push .
  trowel build -t app:1 -o type=docker,dest=- . | docker load
  trowel build --target test --build-arg GO=1.26 .
  trowel build --check .
  tar cz src Dockerfile | trowel build -t app:1 -
  trowel build https://example.com/app-1.2.tar.gz
  trowel build https://git.example.com/team/app.git#v1.2:services/api`,
		Args: oneArgument("build context"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.build(cmd.Context(), f, args[0]) },
	}
	f.register(cmd.Flags())
	return cmd
}

func (p program) build(ctx context.Context, f *buildFlags, dir string) error {
	if f.call.name != "" {
		return p.call(ctx, f, dir)
	}
	var result host.Result
	done, err := p.withRequest(ctx, f, dir, func(r host.Request) (err error) {
		result, err = host.Build(ctx, r)
		return err
	})
	if err != nil || done == inNamespace {
		return err
	}
	return p.report(f, result)
}

// where says where something was done.
type where string

const (
	here        where = "here"
	inNamespace where = "in a user namespace" // by another process, which wrote the output too
)

// withRequest calls do with what the flags and the configuration ask for. What takes a user namespace is done by this same
// command line in one.
func (p program) withRequest(ctx context.Context, f *buildFlags, dir string, do func(host.Request) error) (where, error) {
	settings, err := p.loadConfig(f)
	if err != nil {
		return here, usageError{err}
	}
	request, err := p.request(f, settings, dir)
	if err != nil {
		return here, err
	}
	return p.perform(ctx, f, settings, request, do)
}

// perform calls do with a request, and with what a build uses beside.
func (p program) perform(ctx context.Context, f *buildFlags, settings config.Config, request host.Request, do func(host.Request) error) (where, error) {
	rewind, err := p.keepStdin(ctx, f.stdin(request.Context), request.WorkDir)
	if err != nil {
		return here, err
	}
	open, err := p.open(ctx, f, settings, &request)
	if err != nil {
		return here, err
	}
	if err = do(request); err == nil {
		open.export(ctx)
	}
	err = errors.Join(err, open.close(ctx))
	code, again, inner := p.inUserNamespace(ctx, err, rewind)
	switch {
	case !again:
		return here, err
	case inner == nil && code != 0:
		return inNamespace, exitStatus(code)
	}
	return inNamespace, inner
}

// opened is what a build uses and has to be closed after it.
type opened struct {
	cache   *local.Cache
	show    *host.Progress
	plugins *plugged

	exports []sdk.Cache      // of --cache-to
	sources []*export.Source // that they are given what was found in
	closers []io.Closer
}

// open opens what the request needs beside its values: progress, caches and plugins.
func (p program) open(ctx context.Context, f *buildFlags, settings config.Config, r *host.Request) (_ *opened, err error) {
	o := &opened{}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close(ctx))
		}
	}()
	if o.cache, err = p.openCache(f, settings, r); err != nil {
		return nil, err
	}
	if o.show, err = host.NewProgress(f.progressMode(), p.stderr, p.getenv); err != nil {
		return nil, usageError{err}
	}
	r.Progress = o.show
	if err = o.flagCaches(f, settings, r); err != nil {
		return nil, err
	}
	if o.plugins, err = p.plugIn(ctx, f, settings, r); err != nil {
		return nil, err
	}
	o.watch(r)
	return o, nil
}

func (o *opened) close(ctx context.Context) error {
	var errs []error
	if o.plugins != nil {
		errs = append(errs, o.plugins.close(ctx))
	}
	for _, c := range o.closers {
		errs = append(errs, c.Close())
	}
	if o.show != nil {
		errs = append(errs, o.show.Close())
	}
	return errors.Join(append(errs, closeCache(o.cache))...)
}

// inUserNamespace builds in a user namespace of its own what only root may build: it runs this same command line there.
func (p program) inUserNamespace(ctx context.Context, err error, rewind func() error) (code int, again bool, failure error) {
	if !errors.Is(err, host.ErrNeedsUserNamespace) {
		return 0, false, nil
	}
	if err := rewind(); err != nil {
		return 0, true, err
	}
	code, failure = p.launcher.EnterUserNamespace(ctx, p.args)
	return code, true, failure
}

func closeCache(c *local.Cache) error {
	if c == nil {
		return nil
	}
	return c.Close()
}

// stdin is what the flags say is on standard input.
func (f *buildFlags) stdin(dir string) input {
	switch {
	case dir == "-":
		return contextInput
	case f.file == "-":
		return dockerfileInput
	}
	return noInput
}

func (f *buildFlags) progressMode() string {
	if f.quiet {
		return "quiet"
	}
	return f.progress
}

func (p program) loadConfig(f *buildFlags) (config.Config, error) {
	named := f.config
	if named == "" {
		named = p.getenv("TROWEL_CONFIG")
	}
	return config.Load(config.Sources{Files: config.DefaultFiles(), Required: named, Getenv: p.getenv})
}

// request turns flags and configuration into what the engine is asked.
func (p program) request(f *buildFlags, settings config.Config, dir string) (host.Request, error) {
	r := host.Request{
		Context: dir, Dockerfile: f.file, Stdin: p.stdin, Stdout: p.stdout, Target: f.target, Platforms: f.platforms,
		Annotations: f.annotations, Tags: f.tags, Outputs: f.outputs, Push: host.Switch(f.push),
		NoCache: host.Switch(f.noCache), NoCacheFor: f.noCacheFor, Network: f.network, Allow: f.allow, ExtraHosts: f.addHosts, Jobs: f.jobs, Ulimits: f.ulimits,
		Registries: settings.Registry, Proxy: settings.Proxy, Credentials: p.credentials(),
		Compression: first(f.compression, settings.Build.Compression), CompressionLevel: settings.Build.CompressionLevel,
		WorkDir: first(f.workDir, settings.Build.WorkDir), Isolation: first(f.isolation, settings.Build.Isolation), OverwriteRoot: f.overwriteRoot,
		MinIsolation:     first(f.minIsolation, settings.Build.MinIsolation),
		RewriteTimestamp: host.Switch(f.rewriteTimestamp), NormalizeContext: host.Switch(f.normalizeContext),
		Launcher: p.launcher, CI: host.ReadCI(p.getenv), UserAgent: "trowel/" + buildVersion(),
	}
	if f.compressionLevel != 0 {
		r.CompressionLevel = f.compressionLevel
	}
	var err error
	if r.TreeMemory, err = treeMemory(f, settings); err != nil {
		return r, err
	}
	if f.shmSize != "" {
		n, err := config.ParseDockerSize(f.shmSize)
		if err != nil {
			return r, usageError{fmt.Errorf("--shm-size: %w", err)}
		}
		r.ShmSize = int64(n)
	}
	if r.BuildArgs, err = p.buildArgs(f); err != nil {
		return r, err
	}
	if r.NamedContexts, err = pairs("build-context", f.contexts, nil); err != nil {
		return r, err
	}
	if r.Labels, err = pairs("label", f.labels, nil); err != nil {
		return r, err
	}
	if r.Secrets, err = parseSecrets(f.secrets, p.stderr); err != nil {
		return r, err
	}
	ssh := f.ssh
	if len(ssh) == 0 && host.OverSSH(dir) && p.getenv("SSH_AUTH_SOCK") != "" {
		ssh = []string{host.DefaultSSH}
	}
	if r.SSH, err = p.parseSSH(ssh); err != nil {
		return r, err
	}
	at, given := r.BuildArgs["SOURCE_DATE_EPOCH"]
	if !given {
		at = p.getenv("SOURCE_DATE_EPOCH")
	}
	if r.Epoch, err = epoch(at); err != nil {
		r.EpochFrom, err = at, nil // the name of a context
	}
	return r, err
}

// treeMemory is how much memory unpacked layers may take, if anybody said.
func treeMemory(f *buildFlags, settings config.Config) (*int64, error) {
	size := settings.Build.TreeMemory
	if f.treeMemory != "" {
		n, err := config.ParseSize(f.treeMemory)
		if err != nil {
			return nil, usageError{fmt.Errorf("--tree-memory: %w", err)}
		}
		size = &n
	}
	return (*int64)(size), nil
}

// buildArgs are --build-arg's, and the proxies of the environment are not: a build must not depend on them unasked.
func (p program) buildArgs(f *buildFlags) (map[string]string, error) {
	return pairs("build-arg", f.buildArgs, os.LookupEnv)
}

func epoch(text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, usageError{fmt.Errorf("SOURCE_DATE_EPOCH %q: want seconds since 1970", text)}
	}
	t := time.Unix(seconds, 0).UTC()
	return &t, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// openCache opens the local cache and tells the request of it. A machine that has no place for one builds without.
func (p program) openCache(f *buildFlags, settings config.Config, r *host.Request) (*local.Cache, error) {
	if f.noLocalCache {
		return nil, nil
	}
	dir, named := cacheDir(f, settings)
	if dir == "" {
		return nil, nil
	}
	c, err := local.Open(local.Config{Dir: dir, MaxSize: int64(settings.Build.CacheSize)})
	if err != nil {
		if named {
			return nil, err
		}
		fmt.Fprintf(p.stderr, "trowel: warning: no local cache: %v\n", err)
		return nil, nil
	}
	r.Keep = append(r.Keep, dir)
	r.Caches = append([]host.Cache{{Name: "local", Backend: c, Holds: f.localHolds}}, r.Caches...)
	r.CacheMounts = host.CacheMounts{Dir: mountsBeside(dir), MaxSize: int64(settings.Build.CacheSize)}
	if r.WorkDir == "" && host.InPlaceDir(r.Isolation, r.OverwriteRoot) == "" {
		r.WorkDir = workBeside(dir)
	}
	return c, nil
}

// cacheDir is the local cache's directory, and whether the user named it; empty if there is no place for one.
func cacheDir(f *buildFlags, settings config.Config) (dir string, named bool) {
	if dir := first(f.cacheDir, settings.Build.CacheDir); dir != "" {
		return dir, true
	}
	if dir := host.InPlaceDir(first(f.isolation, settings.Build.Isolation), f.overwriteRoot); dir != "" {
		return filepath.Join(dir, "cache"), false
	}
	user, err := os.UserCacheDir()
	if err != nil {
		return "", false
	}
	return filepath.Join(user, "trowel"), false
}

// workBeside is the work directory that goes with a cache: on its file system, so that files are linked, not copied.
func workBeside(cache string) string {
	if cache == "" {
		return ""
	}
	return filepath.Join(cache, "work")
}

// mountsBeside is where the caches of RUN --mount=type=cache lie.
func mountsBeside(cache string) string { return filepath.Join(cache, "mounts") }
