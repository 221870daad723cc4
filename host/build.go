package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/config"
	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/cachemount"
	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/host/internal/plan"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/internal/secret"
	"github.com/trowel-build/trowel/host/internal/sshagent"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// Build builds an image and sends it where the request says. It returns when everything is written, or nothing can be: a
// registry then holds no more than blobs that nothing refers to.
//
// A damaged blob in a cache backend does not fail a build: the build is made again without it.
func Build(ctx context.Context, r Request) (result Result, err error) {
	err = withoutDamaged(ctx, &r, func(damaged map[string]bool) error {
		result, err = buildOnce(ctx, r, damaged)
		return err
	})
	return result, err
}

// withoutDamaged does something again without the blob that turned out to be damaged, as long as there is one more.
func withoutDamaged(ctx context.Context, r *Request, do func(damaged map[string]bool) error) error {
	damaged := map[string]bool{}
	rewind := rewinder(r.Stdin)
	told := &toldOnce{to: r.progress(), known: map[string]bool{}}
	r.Progress = told
	for {
		err := do(damaged)
		bad, ok := errors.AsType[*stage.DamagedBlob](err)
		if !ok || damaged[bad.Digest.String()] || ctx.Err() != nil {
			return err
		}
		damaged[bad.Digest.String()] = true
		text := fmt.Sprintf("cache: %v: building again without it", bad)
		if len(damaged) == maxDamaged { // each may have taken a while
			r.Caches = withoutRemote(r.Caches)
			text += ", and without reading the caches that are not on this machine"
		}
		r.progress().Report(warning(text))
		told.again()
		if err := rewind(); err != nil {
			return fmt.Errorf("read standard input again: %w", err)
		}
	}
}

// rewinder goes back to where a stream is now, if it can.
func rewinder(r io.Reader) func() error {
	s, ok := r.(io.Seeker)
	if !ok {
		return func() error { return nil }
	}
	at, err := s.Seek(0, io.SeekCurrent)
	if err != nil { // a pipe: there is nothing to go back to
		return func() error { return nil }
	}
	return func() error {
		_, err := s.Seek(at, io.SeekStart)
		return err
	}
}

// maxDamaged is how many damaged blobs it takes for remote caches not to be read any more.
const maxDamaged = 3

// withoutRemote are caches of which those elsewhere are only written to.
func withoutRemote(all []Cache) []Cache {
	var rest []Cache
	for _, c := range all {
		if c.Place == CacheRemote {
			if len(c.Roles) > 0 && !slices.Contains(c.Roles, "write") {
				continue
			}
			c.Roles = []string{"write"}
		}
		rest = append(rest, c)
	}
	return rest
}

// build is a build in progress.
type build struct {
	Request
	platforms []ocispec.Platform
	client    *registry.Client
	tiers     *cache.Tiers
	caching   []registry.Repository // that are caches
	name      string                // of the Dockerfile
	text      []byte                // of it; known before the context is open where there is no context
	file      *dockerfile.File
	plans     []*plan.Plan // one for each platform
	sources   *sources
	remotes   *remotes
	targets   *targets
	secrets   *secret.Store
	agents    *sshagent.Agents
	run       stage.Run
	layers    layer.Options
	form      stage.Form
	work      *workDir
	store     *blob.Store
	memory    *workDir // in memory; nil if there is none

	cacheMounts func() (*cachemount.Store, error) // opened at first use
	keptMounts  *cachemount.Store                 // those that outlive the build; nil if none were used

	stages plan.Extent
	found  []dockerfile.Warning

	described   []describedInstruction // of plugins
	contextTree treeFunc               // the index of the whole build context
	own         *ownCache              // what this build made so far; nil unless a plugin reads of it
	parts       []*stage.Engine        // of stages that were built for plugins

	// isolation finds out how processes are isolated, when it is asked first; nil if there are none to run.
	isolation func() (stage.Isolation, error)
	probing   sync.WaitGroup // who asks it beside the look-ups
	planned   func()         // is called when there are plans, before images are looked up; nil for nothing
	gate      gate
	created   time.Time
}

func buildOnce(ctx context.Context, r Request, damaged map[string]bool) (_ Result, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	b := &build{Request: r, created: r.created()}
	if r.EarlierStages {
		b.stages = plan.UpToTarget
	}
	defer func() {
		if cause := context.Cause(ctx); errors.Is(cause, ErrNeedsUserNamespace) {
			err = cause
		}
		stop(nil)
		b.probing.Wait()
		err = errors.Join(err, b.close())
	}()
	// 1. What is asked for, and where it goes.
	if err := b.prepare(damaged); err != nil {
		return Result{}, err
	}
	defer b.startCaches(ctx)()
	// 2. The Dockerfile in its context.
	if err := b.parse(ctx); err != nil {
		return Result{}, err
	}
	// 3. A plan for each platform: the stages that the target needs, and the images they start from.
	b.planned = func() { b.probeBeside(stop) }
	lowered, err := b.resolve(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := b.refuseUngranted(lowered); err != nil {
		return Result{}, err
	}
	// 4. May we push? It is asked while the stages are built, and stops them if not.
	pusher, pushing := b.startPush(ctx)
	// 5. The stages, each layer of the image on its way to the registries as soon as there is one.
	engine, err := b.engine(lowered, pusher.Layer)
	if err != nil {
		return Result{}, errors.Join(err, pusher.stop())
	}
	defer func() {
		stop(nil)
		err = errors.Join(err, engine.Wait())
	}()
	results, err := engine.Build(pushing)
	if err != nil {
		return Result{}, pusher.cause(err)
	}
	// 6. Config, manifest, index, and the outputs, once all that they were made of is verified; what the tags name goes last.
	made, err := b.assemble(ctx, engine, results)
	if err != nil {
		return Result{}, errors.Join(err, pusher.stop())
	}
	if err := b.deliver(engine, made, pusher); err != nil {
		return Result{}, err
	}
	// 7. What else outlives the build.
	engine.KeepCaches(ctx)
	if err := engine.Wait(); err != nil {
		return Result{}, err
	}
	b.limitCacheMounts(ctx)
	return b.result(made), nil
}

// prepare reads the request.
func (b *build) prepare(damaged map[string]bool) (err error) {
	if err := b.check(); err != nil {
		return &RequestError{err}
	}
	b.client, err = registry.New(registry.Options{
		Registries: b.registries(), Default: b.DefaultRegistry, Credentials: b.gate.gated(b.Credentials), UserAgent: b.UserAgent, Proxy: b.Proxy.Func(),
		Retry: registry.Retry{Attempts: b.RegistryAttempts},
	})
	if err != nil {
		return err
	}
	var tiers []cache.Tier
	for _, c := range b.Caches {
		tier := cache.Tier{Name: c.Name, Cache: c.Backend, Roles: cache.Read | cache.Write, Place: c.Place, Reach: c.Holds}
		if len(c.Roles) > 0 {
			if tier.Roles, err = cache.ParseRoles(c.Roles); err != nil {
				return fmt.Errorf("cache %q: %w", c.Name, err)
			}
		}
		tiers = append(tiers, tier)
		if c.Repository == "" {
			continue
		}
		at, err := registry.ParseRepository(c.Repository)
		if err != nil {
			return fmt.Errorf("cache %q: %w", c.Name, err)
		}
		b.caching = append(b.caching, at)
	}
	b.tiers = cache.NewTiers(tiers, damaged, func(text string) { b.progress().Report(warning(text)) })
	if b.work, err = openWorkDir(b.workParent()); err != nil {
		return err
	}
	if b.store, err = blob.Open(b.work.blobs); err != nil {
		return err
	}
	b.remotes = b.newRemotes()
	b.cacheMounts = sync.OnceValues(b.openCacheMounts)
	return nil
}

// check reads what does not depend on anything but the request.
func (b *build) check() (err error) {
	if b.platforms, err = targetPlatforms(b.Platforms); err != nil {
		return err
	}
	if b.targets, err = parseTargets(b.Request); err != nil {
		return err
	}
	if err := b.checkGrants(); err != nil {
		return err
	}
	if b.secrets, err = secret.NewStore(b.Secrets); err != nil {
		return err
	}
	if b.agents, err = sshagent.Open(b.SSH); err != nil {
		return err
	}
	if b.run, err = b.runOptions(); err != nil {
		return err
	}
	if err := b.checkIndex(); err != nil {
		return err
	}
	if b.layers, err = b.layerOptions(); err != nil {
		return err
	}
	if b.Jobs < 0 {
		return fmt.Errorf("jobs %d: want 0 or more", b.Jobs)
	}
	return b.checkIsolation()
}

// registries are the request's settings, with those that outputs ask for.
func (b *build) registries() map[string]config.Registry {
	all := maps.Clone(b.Registries)
	for _, name := range b.targets.insecure {
		if all == nil {
			all = map[string]config.Registry{}
		}
		s, ok := all[name]
		if !ok {
			s = b.DefaultRegistry
		}
		if s.TLS == "" {
			s.TLS = registry.TLSSkip
		}
		all[name] = s
	}
	return all
}

// parse opens the context and reads the Dockerfile.
func (b *build) parse(ctx context.Context) error {
	var err error
	if err = b.openContexts(ctx); err != nil {
		return err
	}
	name, text, err := b.dockerfile(ctx)
	if err != nil {
		return err
	}
	b.name, b.text = name, text
	custom, err := b.describe(ctx)
	if err != nil {
		return err
	}
	opt := dockerfile.Options{Instructions: custom}
	if v, ok := b.BuildArgs["BUILDKIT_DOCKERFILE_CHECK"]; ok {
		opt.Checks = &v
	}
	b.file, err = dockerfile.Parse(name, text, opt)
	if b.file != nil {
		b.warn(b.file.Warnings...)
	}
	if err != nil {
		return err
	}
	b.contextTree = once(b.readContext)
	return b.checkNoCache()
}

// engine makes the engine that builds the stages.
func (b *build) engine(lowered loweredStages, publish func(*stage.Layer)) (*stage.Engine, error) {
	o := b.engineOptions(b.plans, lowered)
	o.Publish = publish
	if b.isolation != nil {
		o.Isolate = b.isolateWithMemory
	}
	return stage.New(o)
}

func (b *build) engineOptions(plans []*plan.Plan, lowered loweredStages) stage.Options {
	return stage.Options{
		Plans: plans, Lowered: lowered, Images: b.sources.images, Contexts: b.sources.forStages(), Remotes: b.remotes,
		Store: b.store, Dir: b.work.trees, Cache: b.tiers, NoCache: b.noCache, Layers: b.layers,
		Launcher: b.Launcher, Isolate: b.isolation, Enter: b.gate.enter,
		Run: b.run, Progress: b.progress(),
		Form: b.form, Created: b.created, Epoch: b.Epoch, Jobs: b.Jobs,
		Secrets: b.secrets, Agents: b.agents, CacheMounts: b.cacheMounts,
	}
}

func (b *build) close() error {
	var errs []error
	_ = b.waitParts() // what mattered of it is known
	if b.tiers != nil {
		b.tiers.Wait() // whoever gave the caches closes them next
	}
	if b.client != nil {
		b.client.Close()
	}
	if b.sources != nil {
		errs = append(errs, b.sources.close())
	}
	for _, w := range []*workDir{b.memory, b.work} {
		if w != nil {
			errs = append(errs, w.close())
		}
	}
	return errors.Join(errs...)
}

// created is the time of what has no other.
func (r *Request) created() time.Time {
	if r.Epoch != nil {
		return *r.Epoch
	}
	return time.Now()
}

func (r *Request) progress() Reporter {
	if r.Progress == nil {
		return progress.Discard{}
	}
	return r.Progress
}

func warning(text string) Event {
	return Event{Time: time.Now(), Kind: progress.KindMessage, Level: "warning", Text: text}
}
