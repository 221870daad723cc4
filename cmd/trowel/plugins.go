package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/config"
	"github.com/trowel-build/trowel/host/plugin"
	"github.com/trowel-build/trowel/host/plugin/artifact"
	"github.com/trowel-build/trowel/host/plugin/lock"
	"github.com/trowel-build/trowel/plugins"
	"github.com/trowel-build/trowel/sdk"
)

// plugged is the plugins of a build.
type plugged struct {
	set     *plugin.Set
	sockets *socketDir
	opened  []io.Closer // of caches that are compiled in
}

// plugIn loads the configured plugins and tells the request of them. The local cache is asked before those of plugins, and
// their credential providers before those that are built in: the user named them for it.
func (p program) plugIn(ctx context.Context, f *buildFlags, settings config.Config, r *host.Request) (*plugged, error) {
	if len(settings.Plugins) == 0 {
		return &plugged{}, nil
	}
	sockets, err := openSocketDir()
	if err != nil {
		return nil, fmt.Errorf("make a directory for the sockets of plugins: %w", err)
	}
	in := &plugged{sockets: sockets}
	mode := lock.Open
	if f.frozen {
		mode = lock.Frozen
	}
	report := func(level sdk.Level, text string) {
		r.Progress.Report(host.Event{Time: time.Now(), Kind: "message", Level: string(level), Text: text})
	}
	flags := &pluginFlags{buildFlags: *f, pluginDir: f.pluginDir, lock: f.lockFile}
	err = p.withPlugins(flags, func(s *pluginSession) error {
		certificates, err := tlsOf(settings)
		if err != nil {
			return err
		}
		in.set, err = plugin.Load(ctx, settings.Plugins, settings.PluginOrder, plugin.Options{
			Program: func(ctx context.Context, name string, _ plugin.Spec) ([]byte, error) {
				found, err := s.client.Resolve(ctx, s.request(name), s.locked, mode)
				return found.Bytes, err
			},
			Native: func(_ context.Context, _ string, spec plugin.Spec) (plugin.Cache, bool, error) {
				return in.native(spec, r)
			},
			Host: "trowel " + buildVersion(), Getenv: p.getenv, Proxy: settings.Proxy.Func(), TLS: certificates,
			CompileDir: usableCompileDir(f, settings), SocketDir: sockets.name, Ahead: plugins.Code, Report: report,
			Prefetch: prefetch(r),
		})
		return err
	})
	if err != nil {
		return nil, errors.Join(err, in.close(ctx))
	}
	for _, c := range in.set.Caches {
		r.Caches = append(r.Caches, host.Cache{
			Name: c.Name, Backend: c.Backend, Roles: c.Roles, Place: host.CacheRemote, Repository: c.Repository, Start: c.Start,
		})
	}
	r.Pause = in.set.Pause
	r.Credentials = append(in.set.Credentials, r.Credentials...)
	for _, i := range in.set.Instructions {
		r.Instructions = append(r.Instructions, host.Instructions(i))
	}
	return in, nil
}

// prefetch names the module of a cache in this program that the build will ask for certain.
func prefetch(r *host.Request) func(plugin.Spec) string {
	if !r.NeedsRemoteCaches() {
		return nil
	}
	return func(spec plugin.Spec) string {
		name, carried := strings.CutPrefix(spec.Source, "builtin:")
		if !carried || spec.Kind != sdk.KindCache || len(spec.Roles) > 0 && !slices.Contains(spec.Roles, "read") {
			return ""
		}
		return plugins.Digest(name)
	}
}

// close ends the plugins.
func (in *plugged) close(ctx context.Context) error {
	var err error
	if in.set != nil {
		err = in.set.Close(context.WithoutCancel(ctx))
	}
	for _, c := range in.opened {
		err = errors.Join(err, c.Close())
	}
	if in.sockets != nil {
		err = errors.Join(err, in.sockets.close())
	}
	return err
}

// compileDir keeps compiled plugins, or is empty if there is no place for them.
func compileDir(f *buildFlags, settings config.Config) string {
	if dir, _ := cacheDir(f, settings); dir != "" {
		return filepath.Join(dir, "compiled")
	}
	return ""
}

// usableCompileDir is that directory, or empty if it cannot be made and nobody named it. There is no local cache then, of which a
// warning tells.
func usableCompileDir(f *buildFlags, settings config.Config) string {
	dir := compileDir(f, settings)
	_, named := cacheDir(f, settings)
	if dir == "" || named {
		return dir
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ""
	}
	return dir
}

// tlsOf is how the hosts of [registry."host"] are reached, for plugins that reach them too.
func tlsOf(settings config.Config) (map[string]*tls.Config, error) {
	certificates := map[string]*tls.Config{}
	for name, s := range settings.Registry {
		if s.CA == "" && s.ClientCert == "" {
			continue
		}
		c, err := s.TLSConfig()
		if err != nil {
			return nil, fmt.Errorf("registry %q: %w", name, err)
		}
		certificates[name] = c
	}
	return certificates, nil
}

// warmPlugin compiles a plugin, so that the first build with it need not.
func (p program) warmPlugin(ctx context.Context, f *pluginFlags, name string, installed artifact.Program) error {
	settings, err := p.loadConfig(&f.buildFlags)
	if err != nil {
		return err
	}
	dir := compileDir(&f.buildFlags, settings)
	if installed.Platform.Native() || dir == "" {
		return nil
	}
	if err := plugin.Warm(ctx, plugin.Options{CompileDir: dir, Ahead: plugins.Code}, name, installed.Bytes); err != nil {
		// It is installed all the same: what it is worth is for the build to say that uses it.
		fmt.Fprintf(p.stderr, "trowel: warning: compile plugin %q: %v\n", name, err)
	}
	return ctx.Err()
}
