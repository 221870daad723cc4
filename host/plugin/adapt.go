package plugin

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/trowel-build/trowel/host/plugin/match"
	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// cacheBackend is a cache plugin as the core knows caches.
type cacheBackend struct {
	running *running

	once  sync.Once
	cache *transfer.Cache
	err   error
}

var _ sdk.Cache = (*cacheBackend)(nil)

// started is the cache once the plugin said what it can do. A plugin that cannot be started stays so for the build.
func (c *cacheBackend) started(ctx context.Context) (*transfer.Cache, error) {
	c.once.Do(func() {
		hello, err := c.running.hello(ctx)
		if err != nil {
			c.err = err
			return
		}
		r := c.running
		engine := transfer.New(transfer.Options{
			Send: r.services.Send,
			Warn: func(text string) { r.services.Log(sdk.LevelDebug, text) },
		})
		c.cache = transfer.NewCache(offered(r.client.Cache(), hello.Features), engine)
	})
	return c.cache, c.err
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
	return cache.GetRecords(ctx, keys)
}

// PutRecords is [sdk.RecordStore]'s.
func (c *cacheBackend) PutRecords(ctx context.Context, records []sdk.Record) error {
	cache, err := c.started(ctx)
	if err != nil {
		return err
	}
	return cache.PutRecords(ctx, records)
}

// StatBlobs is [sdk.BlobReader]'s.
func (c *cacheBackend) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	cache, err := c.started(ctx)
	if err != nil {
		return nil, err
	}
	return cache.StatBlobs(ctx, digests)
}

// GetBlob is [sdk.BlobReader]'s.
func (c *cacheBackend) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	cache, err := c.started(ctx)
	if err != nil {
		return sdk.Content{}, err
	}
	return cache.GetBlob(ctx, digest)
}

// PutBlob is [sdk.BlobWriter]'s.
func (c *cacheBackend) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	cache, err := c.started(ctx)
	if err != nil {
		return err
	}
	return cache.PutBlob(ctx, blob, content)
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
		return sdk.Credential{}, fmt.Errorf("plugin %q: %w", r.name, err)
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
	return i.running.client.Instruction().Describe(ctx)
}

// Plan is [sdk.InstructionHandler]'s.
func (i *instructions) Plan(ctx context.Context, call sdk.Call) (sdk.Plan, error) {
	if _, err := i.running.hello(ctx); err != nil {
		return sdk.Plan{}, err
	}
	return i.running.client.Instruction().Plan(ctx, call)
}
