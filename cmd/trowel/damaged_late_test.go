package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/sdk"
)

// lateDamage is a cache in memory. Once damage is set it gives large blobs with another last byte than they have, and
// calls damage before that byte.
type lateDamage struct {
	mu      sync.Mutex
	records map[sdk.Key][]byte
	blobs   map[sdk.Digest][]byte
	damage  func()
}

func (c *lateDamage) GetRecords(_ context.Context, keys []sdk.Key) (found []sdk.Record, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		if value, ok := c.records[key]; ok {
			found = append(found, sdk.Record{Key: key, Value: value})
		}
	}
	return found, nil
}

func (c *lateDamage) PutRecords(_ context.Context, records []sdk.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range records {
		c.records[r.Key] = bytes.Clone(r.Value)
	}
	return nil
}

func (c *lateDamage) StatBlobs(_ context.Context, digests []sdk.Digest) (found []sdk.Blob, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range digests {
		if content, ok := c.blobs[d]; ok {
			found = append(found, sdk.Blob{Digest: d, Size: int64(len(content))})
		}
	}
	return found, nil
}

func (c *lateDamage) GetBlob(_ context.Context, digest sdk.Digest) (sdk.Content, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	content, ok := c.blobs[digest]
	if !ok {
		return sdk.Content{}, sdk.ErrNotFound
	}
	damage := c.damage
	if len(content) < 1<<20 {
		damage = nil
	}
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) {
		if damage == nil {
			return io.NopCloser(bytes.NewReader(content)), nil
		}
		last := len(content) - 1
		return io.NopCloser(io.MultiReader(bytes.NewReader(content[:last]), &afterwards{damage, []byte{content[last] ^ 1}})), nil
	}}, nil
}

func (c *lateDamage) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) (err error) {
	r, err := content.Open(ctx)
	if err != nil {
		return err
	}
	all, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blobs[blob.Digest] = all
	return r.Close()
}

// afterwards does something before it gives what it has.
type afterwards struct {
	do   func()
	rest []byte
}

func (a *afterwards) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		return 0, io.EOF
	}
	a.do()
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// quicker is a registry to which another build always pushes a large blob while we do: the upload breaks off, and the blob is
// there.
func quicker(t *testing.T, blob func() ([]byte, sdk.Digest)) string {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	ask := func(method, target string, body []byte) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		inner.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(body)))
		return w
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost || !strings.Contains(r.URL.Path, "/blobs/uploads/") || r.ContentLength >= 0 && r.ContentLength < 1<<20 {
			inner.ServeHTTP(w, r)
			return
		}
		_, _ = io.CopyN(io.Discard, r.Body, 1000)
		content, digest := blob()
		upload := ask(http.MethodPost, "/v2/app/blobs/uploads/", nil).Header().Get("Location")
		if done := ask(http.MethodPut, upload+"?digest="+string(digest), content); done.Code != http.StatusCreated {
			t.Errorf("push the blob: status %d: %s", done.Code, done.Body)
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// A cache gives a layer whose damage shows only at its end, which nobody waits for: the registry has the layer by then. The
// image must not have a name before, for the build without the damaged layer may fail, as it does here.
func TestDamageBeforeNames(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	large := make([]byte, 2<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(large)
	s.write("Dockerfile", "FROM scratch\nCOPY small large /\n")
	s.write("small", "small")
	s.write("large", string(large))
	cache := &lateDamage{records: map[sdk.Key][]byte{}, blobs: map[sdk.Digest][]byte{}}
	request := host.Request{
		Context: s.context, Caches: []host.Cache{{Name: "late", Backend: cache, Place: host.CacheRemote}},
		WorkDir: filepath.Join(s.dir, "tmp"),
	}
	if _, err := host.Build(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	to := quicker(t, func() ([]byte, sdk.Digest) {
		cache.mu.Lock()
		defer cache.mu.Unlock()
		for digest, content := range cache.blobs {
			if len(content) > 1<<20 {
				return content, digest
			}
		}
		return nil, ""
	})
	named := func() bool {
		r, err := http.Head("http://" + to + "/v2/app/manifests/late")
		return err == nil && r.Body.Close() == nil && r.StatusCode == http.StatusOK
	}
	reached := make(chan struct{})
	cache.damage = sync.OnceFunc(func() {
		for i := 0; i < 100 && !named(); i++ { // a build that does not wait has time to name the image
			time.Sleep(10 * time.Millisecond)
		}
		close(reached)
		must(t, os.Remove(filepath.Join(s.context, "small")))
	})
	request.Outputs = []string{"type=image,push=true,name=" + to + "/app:late"}
	_, err := host.Build(t.Context(), request)
	select {
	case <-reached:
	default:
		t.Fatal("the layer was not read to its end")
	}
	if err == nil || !strings.Contains(err.Error(), `"small"`) {
		t.Errorf("the second build must fail for what it lacks: %v", err)
	}
	if named() {
		t.Error("the build failed, and its image has a name in the registry")
	}
}
