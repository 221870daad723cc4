package plugin

import (
	"context"
	"fmt"
	"slices"

	"github.com/trowel-build/trowel/host/plugin/match"
	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// cacheBackend is a cache plugin as the core knows caches.
type cacheBackend struct {
	running *running

	turn  chan struct{} // holds a token while somebody reads or sets what follows
	cache *transfer.Cache
	err   error
}

var _ sdk.Cache = (*cacheBackend)(nil)

// start makes the plugin ready. What comes of that shows when it is asked.
func (c *cacheBackend) start(ctx context.Context) { _, _ = c.started(ctx) }

// started is the cache once the plugin said what it can do. A plugin that cannot be started stays so for the build.
func (c *cacheBackend) started(ctx context.Context) (*transfer.Cache, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done(): // somebody else starts it
		return nil, context.Cause(ctx)
	}
	if c.cache != nil || c.err != nil {
		return c.cache, c.err
	}
	r := c.running
	hello, err := r.hello(ctx)
	if err != nil {
		if ctx.Err() == nil { // else it says nothing of the plugin
			c.err = err
		}
		return nil, err
	}
	engine := transfer.New(transfer.Options{
		Send: r.services.Send, Stall: limitsOf(r.spec).Timeout, // a server has as long for a byte as the plugin for an answer
		Warn: func(text string) { r.services.Log(sdk.LevelDebug, text) },
	})
	c.cache = transfer.NewCache(offered(r.client.Cache(), hello.Features), engine)
	return c.cache, nil
}

// offered is a remote cache with the abilities that the plugin has.
func offered(c *abi.RemoteCache, features []string) transfer.Backend {
	b := transfer.Backend{Reader: c}
	if slices.Contains(features, abi.FeatureBlobWriter) {
		b.Writer = c
	}
	if slices.Contains(features, abi.FeatureUploadPlanner) {
		b.Planner = c
	}
	return b
}

// GetRecords is [sdk.RecordStore]'s.
func (c *cacheBackend) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	cache, err := c.started(ctx)
	if err != nil {
		return nil, err
	}
	found, err := cache.GetRecords(ctx, keys)
	return found, c.running.failed(err)
}

// PutRecords is [sdk.RecordStore]'s.
func (c *cacheBackend) PutRecords(ctx context.Context, records []sdk.Record) error {
	cache, err := c.started(ctx)
	if err != nil {
		return err
	}
	return c.running.failed(cache.PutRecords(ctx, records))
}

// StatBlobs is [sdk.BlobReader]'s.
func (c *cacheBackend) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	cache, err := c.started(ctx)
	if err != nil {
		return nil, err
	}
	held, err := cache.StatBlobs(ctx, digests)
	return held, c.running.failed(err)
}

// GetBlob is [sdk.BlobReader]'s.
func (c *cacheBackend) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	cache, err := c.started(ctx)
	if err != nil {
		return sdk.Content{}, err
	}
	content, err := cache.GetBlob(ctx, digest)
	return content, c.running.failed(err)
}

// PutBlob is [sdk.BlobWriter]'s.
func (c *cacheBackend) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	cache, err := c.started(ctx)
	if err != nil {
		return err
	}
	return c.running.failed(cache.PutBlob(ctx, blob, content))
}

// newCredentials is a credential plugin, asked about the registries that the user said.
func newCredentials(r *running) (sdk.CredentialProvider, error) {
	list, err := match.ParseList(r.spec.Match)
	if err != nil {
		return nil, err
	}
	return list.Provider(&credentials{running: r}), nil
}

// credentials is a credential plugin.
type credentials struct{ running *running }

// Credential is [sdk.CredentialProvider]'s.
func (c *credentials) Credential(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	r := c.running
	if _, err := r.hello(ctx); err != nil {
		return sdk.Credential{}, fmt.Errorf("plugin %q: %w", r.name, err)
	}
	answer, err := r.client.Credential().Credential(ctx, request)
	if err != nil {
		return sdk.Credential{}, fmt.Errorf("plugin %q: %w", r.name, r.failed(err))
	}
	if answer.Secret, err = r.services.FillReply(answer.Secret, request.Registry); err != nil {
		return sdk.Credential{}, fmt.Errorf("plugin %q: %w", r.name, err)
	}
	return answer, nil
}

// instructions is an instruction plugin.
type instructions struct{ running *running }

// Describe is [sdk.InstructionHandler]'s.
func (i *instructions) Describe(ctx context.Context) ([]sdk.Instruction, error) {
	if _, err := i.running.hello(ctx); err != nil {
		return nil, err
	}
	list, err := i.running.client.Instruction().Describe(ctx)
	return list, i.running.failed(err)
}

// Plan is [sdk.InstructionHandler]'s.
func (i *instructions) Plan(ctx context.Context, call sdk.Call) (sdk.Plan, error) {
	if _, err := i.running.hello(ctx); err != nil {
		return sdk.Plan{}, err
	}
	plan, err := i.running.client.Instruction().Plan(ctx, call)
	return plan, i.running.failed(err)
}
