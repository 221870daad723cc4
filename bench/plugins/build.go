package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/plugin/author"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

const (
	buildSteps = 14
	buildSleep = 2 // seconds of each step

	deployUser     = "deploy"
	deployPassword = "correct horse"
)

// build builds for half a minute with a plugin of each kind, all of them modules: the base comes from a registry that wants a
// password, each step is looked up in and put into a cache, an instruction is planned, and the image is pushed. The plugins are
// first as on a machine that never had them, and then as "trowel plugin install" leaves them.
func (b *bench) build(ctx context.Context) error {
	b.report.table("plugins in a build", "build", "took", "calls", "in calls", "share", "target")
	scene := &scene{bench: b, dirs: map[string]string{}, modules: map[string]*subject{}}
	for _, name := range []string{"cache", "credential", "instruction-go"} {
		var err error
		if scene.modules[name], err = b.compile(ctx, filepath.Join(b.root, "examples", name), name, author.Wasm); err != nil {
			return err
		}
		if scene.dirs[name], err = b.newDir("compiled"); err != nil {
			return err
		}
	}
	objects := httptest.NewServer(newObjects())
	defer objects.Close()
	guarded, err := b.serveRegistry(ctx)
	if err != nil {
		return err
	}
	defer guarded.Close()
	scene.objects, scene.registry = objects.URL, strings.TrimPrefix(guarded.URL, "http://")
	for _, run := range []struct{ name, steps, target string }{
		{"new plugins", "first", ""}, {"installed plugins", "second", "≤ 1 %"}, {"every step cached", "second", ""},
	} {
		if err := scene.timeBuild(ctx, run.name, run.steps, run.target); err != nil {
			return err
		}
	}
	return nil
}

// scene is what the builds have in common.
type scene struct {
	*bench
	objects  string
	registry string
	modules  map[string]*subject
	dirs     map[string]string // of compiled modules
}

// plugIn opens the plugins.
func (s *scene) plugIn() (plugins map[string]*timed, err error) {
	plugins = map[string]*timed{}
	env := map[string]string{"DEPLOY_USER": deployUser, "DEPLOY_PASSWORD": deployPassword}
	for name, o := range map[string]struct {
		options service.Options
		config  map[string]any
	}{
		"cache": {service.Options{Grants: service.Grants{Hosts: []string{s.objects}}}, map[string]any{"url": s.objects}},
		"credential": {service.Options{
			Grants: service.Grants{Env: []string{"DEPLOY_USER"}, Secrets: map[string]service.Secret{
				"password": {SecretSource: service.SecretSource{Env: "DEPLOY_PASSWORD"}, Use: service.UseReply},
			}},
			Getenv: func(name string) string { return env[name] },
		}, map[string]any{"registry": s.registry}},
		"instruction-go": {},
	} {
		if plugins[name], err = s.bench.plugIn(s.modules[name], s.dirs[name], o.options, o.config); err != nil {
			return plugins, err
		}
	}
	return plugins, nil
}

// timeBuild builds once. Other steps are other text: nothing of an earlier build is in the cache for them.
func (s *scene) timeBuild(ctx context.Context, name, steps, target string) (err error) {
	plugins, err := s.plugIn()
	defer func() {
		for _, p := range plugins {
			err = errors.Join(err, p.close(ctx))
		}
	}()
	if err != nil {
		return err
	}
	request, err := s.request(steps)
	if err != nil {
		return err
	}
	request.Caches = []host.Cache{{Name: "cache", Backend: plugins["cache"].cache(), Place: host.CacheRemote}}
	request.Credentials = []sdk.CredentialProvider{filling{plugins["credential"]}}
	request.Instructions = []host.Instructions{{Name: "greeting", Handler: abi.NewClient(plugins["instruction-go"]).Instruction(), Identity: steps}}
	started := time.Now()
	if _, err := host.Build(ctx, request); err != nil {
		return err
	}
	took := time.Since(started)
	inCalls, calls := spent(plugins)
	s.report.row(name, fmt.Sprintf("%.2f s", took.Seconds()), fmt.Sprint(calls), inMillis(inCalls),
		fmt.Sprintf("%.2f %%", 100*inCalls.Seconds()/took.Seconds()), target)
	return nil
}

func (s *scene) request(steps string) (host.Request, error) {
	dir, err := s.newDir("context")
	if err != nil {
		return host.Request{}, err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "FROM %s/base\nGREETING %s /etc/greeting\n", s.registry, steps)
	for i := range buildSteps {
		fmt.Fprintf(&text, "RUN echo %s > /made-%d && sleep %d\n", steps, i, buildSleep)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text.String()), 0o644); err != nil {
		return host.Request{}, err
	}
	work, err := s.newDir("work")
	return host.Request{
		Context: dir, Tags: []string{s.registry + "/app:1"}, Push: host.On, Launcher: s.launcher, WorkDir: work,
	}, err
}

// spent is the time in all plugins, and how many calls there were.
func spent(plugins map[string]*timed) (time.Duration, int64) {
	var total time.Duration
	var calls int64
	for _, p := range plugins {
		total += p.inPlugin()
		calls += p.calls.Load()
	}
	return total, calls
}

// filling puts the secret where the plugin says, as the program does.
type filling struct{ plugin *timed }

// Credential asks the plugin.
func (f filling) Credential(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	answer, err := abi.NewClient(f.plugin).Credential().Credential(ctx, request)
	if err != nil {
		return answer, err
	}
	answer.Secret, err = f.plugin.services.FillReply(answer.Secret, request.Registry)
	return answer, err
}
