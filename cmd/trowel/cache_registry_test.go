package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/trowel-build/trowel/builtin/cache/registry"
	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugintest"
)

// requests counts what a registry is asked, by method and kind of path.
type requests struct {
	inner http.Handler
	mu    sync.Mutex
	count map[string]int
}

func (r *requests) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	kind := "manifest"
	if strings.Contains(req.URL.Path, "/blobs/") {
		kind = "blob"
	}
	r.mu.Lock()
	r.count[req.Method+" "+kind]++
	r.mu.Unlock()
	r.inner.ServeHTTP(w, req)
}

func (r *requests) take() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.count
	r.count = map[string]int{}
	return was
}

// registryCache opens the cache in a repository of a registry.
func registryCache(t *testing.T, address string, maxAge time.Duration) *registry.Cache {
	t.Helper()
	repository, cache, err := openRegistryCache(repositoryCache{name: address + "/team/cache", maxAge: maxAge}, &host.Request{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repository.Close() })
	return cache
}

func startRegistry(t *testing.T) (address string, asked *requests) {
	t.Helper()
	asked = &requests{inner: ggcr.New(ggcr.Logger(quiet())), count: map[string]int{}}
	server := httptest.NewServer(asked)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), asked
}

func TestRegistryCacheConforms(t *testing.T) {
	t.Parallel()
	plugintest.Cache(t, func(t *testing.T) sdk.Cache {
		address, _ := startRegistry(t)
		return registryCache(t, address, 0)
	})
}

// Another machine finds a record and its blob with one request for the record; the registry has the blob as a part of it.
func TestRegistryCacheRequests(t *testing.T) {
	t.Parallel()
	address, asked := startRegistry(t)
	ctx, content := t.Context(), bytes.Repeat([]byte("layer"), 1000)
	blob := sdk.Blob{Digest: sdk.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(content))), Size: int64(len(content))}
	value := fmt.Appendf(nil, `{"blob":%q,"diffID":"sha256:%064d"}`, blob.Digest, 7)
	first := registryCache(t, address, time.Hour)
	err := first.PutBlob(ctx, blob, sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }})
	if err == nil {
		err = first.PutRecords(ctx, []sdk.Record{{Key: "step/1", Value: value}})
	}
	if err != nil {
		t.Fatal(err)
	}
	asked.take()
	second := registryCache(t, address, time.Hour)
	records, err := second.GetRecords(ctx, []sdk.Key{"step/1", "step/2", "step/1"})
	if err != nil || len(records) != 1 || string(records[0].Value) != string(value) {
		t.Fatalf("records %v, %v", records, err)
	}
	held, err := second.StatBlobs(ctx, []sdk.Digest{blob.Digest})
	if err != nil || len(held) != 1 || held[0] != blob {
		t.Errorf("blobs %v, %v", held, err)
	}
	if got := asked.take(); got["GET manifest"] != 2 || got["HEAD blob"] != 0 || got["GET blob"] != 0 {
		t.Errorf("the registry was asked %v", got)
	}
	if _, err := second.GetBlob(ctx, "sha256:"+sdk.Digest(strings.Repeat("0", 64))); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("a blob that nobody has: %v", err)
	}
	// A record under another one's tag says nothing, and an old one neither.
	if records, err = registryCache(t, address, time.Nanosecond).GetRecords(ctx, []sdk.Key{"step/1"}); err != nil || len(records) > 0 {
		t.Errorf("old records %v, %v", records, err)
	}
}
