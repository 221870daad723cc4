package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugintest"
)

// planner is a plugin that keeps records itself and has the host move blobs to and from a server, in parts.
type planner struct {
	server *server

	mu sync.Mutex

	records map[sdk.Key][]byte
	started int
	plans   map[string]sdk.Transfer
}

func newPlanner(s *server) *planner {
	return &planner{server: s, records: map[sdk.Key][]byte{}, plans: map[string]sdk.Transfer{}}
}

func (p *planner) GetRecords(_ context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []sdk.Record
	for _, k := range keys {
		if v, ok := p.records[k]; ok {
			out = append(out, sdk.Record{Key: k, Value: append([]byte{}, v...)})
		}
	}
	return out, nil
}

func (p *planner) PutRecords(_ context.Context, records []sdk.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range records {
		bad := r.Key == "" || len(r.Key) > 200 || len(r.Value) > 1<<20 || strings.Trim(string(r.Key), "abcdefghijklmnopqrstuvwxyz0123456789-/:") != ""
		if bad {
			return fmt.Errorf("bad record %q", r.Key)
		}
		p.records[r.Key] = append([]byte{}, r.Value...)
	}
	return nil
}

func path(digest sdk.Digest) string { return "/blobs/" + string(digest) }

func (p *planner) StatBlobs(_ context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	var out []sdk.Blob
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	for _, d := range digests {
		if content, ok := p.server.objects[path(d)]; ok {
			out = append(out, sdk.Blob{Digest: d, Size: int64(len(content))})
		}
	}
	return out, nil
}

func (p *planner) GetBlob(_ context.Context, digest sdk.Digest) (sdk.Content, error) {
	p.server.mu.Lock()
	content, ok := p.server.objects[path(digest)]
	p.server.mu.Unlock()
	if !ok {
		return sdk.Content{}, fmt.Errorf("blob %q: %w", digest, sdk.ErrNotFound)
	}
	plan := p.server.getPlan(path(digest))
	plan.Parts[0].Length = int64(len(content))
	return sdk.Content{Transfer: &plan}, nil
}

func (p *planner) PlanPut(_ context.Context, blob sdk.Blob) (sdk.Transfer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started++
	token := fmt.Sprintf("/uploads/%d", p.started)
	plan := p.server.putPlan(token, blob.Size, 2*part)
	if blob.Size == 0 {
		plan.Parts = []sdk.TransferPart{{Method: "PUT", URL: p.server.URL + token + "/0"}}
	}
	p.plans[token] = plan
	return plan, nil
}

func (p *planner) FinishPut(_ context.Context, blob sdk.Blob, done sdk.TransferResult) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	plan := p.plans[done.Token]
	if len(plan.Parts) != len(done.Parts) {
		return fmt.Errorf("%d parts were sent of %d", len(done.Parts), len(plan.Parts))
	}
	var content []byte
	for _, x := range plan.Parts {
		content = append(content, p.server.object(strings.TrimPrefix(x.URL, p.server.URL))...)
	}
	p.server.put(path(blob.Digest), content)
	return nil
}

func planned(p *planner, e *transfer.Engine) *transfer.Cache {
	return transfer.NewCache(transfer.Backend{Reader: p, Planner: p}, e)
}

// unreliable is a network that fails now and then.
func unreliable(s *server) func(http.ResponseWriter, *http.Request, int) bool {
	return func(w http.ResponseWriter, r *http.Request, n int) bool {
		switch n % 7 {
		case 2:
			http.Error(w, "no", 500)
			return true
		case 4:
			return hijack(w, "")
		case 6:
			return r.Method == http.MethodGet && truncate(s, w, r)
		}
		return false
	}
}

func TestCacheConformance(t *testing.T) {
	t.Parallel()
	t.Run("good network", func(t *testing.T) {
		plugintest.Cache(t, func(t *testing.T) sdk.Cache { return planned(newPlanner(newServer(t)), engine(t)) })
	})
	t.Run("bad network", func(t *testing.T) {
		plugintest.Blobs(t, func(t *testing.T) sdk.BlobStore {
			s := newServer(t)
			s.fault = unreliable(s)
			return planned(newPlanner(s), engine(t, func(o *transfer.Options) { o.Attempts = 12 }))
		})
	})
}

// streaming is a plugin that takes and gives bytes, as they come and without a look.
type streaming struct{ *planner }

func (s streaming) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	in, err := content.Open(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	got, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	s.server.put(path(blob.Digest), got)
	return nil
}

func TestCacheWriter(t *testing.T) {
	t.Parallel()
	plugintest.Blobs(t, func(t *testing.T) sdk.BlobStore {
		s := streaming{newPlanner(newServer(t))}
		return transfer.NewCache(transfer.Backend{Reader: s, Writer: s}, engine(t))
	})
}

func TestCacheReadOnly(t *testing.T) {
	t.Parallel()
	p := newPlanner(newServer(t))
	c := transfer.NewCache(transfer.Backend{Reader: p}, engine(t))
	if !c.ReadOnly() {
		t.Error("a reader alone is not read-only")
	}
	for name, err := range map[string]error{
		"blob":    c.PutBlob(t.Context(), blobOf([]byte("x")), memory([]byte("x"))),
		"records": c.PutRecords(t.Context(), []sdk.Record{{Key: "k", Value: []byte("v")}}),
	} {
		if sdk.AsError(err).Code != sdk.CodeUnsupported {
			t.Errorf("%s: error %v is not of the code unsupported", name, err)
		}
	}
	if len(p.records) > 0 {
		t.Error("a record was stored")
	}
	p.server.put(path(blobOf([]byte("x")).Digest), []byte("x"))
	content, err := c.GetBlob(t.Context(), blobOf([]byte("x")).Digest)
	if err != nil || content.Transfer != nil || content.Open == nil {
		t.Errorf("content %v, error %v", content, err)
	}
}

// A blob that vanishes between plan and transfer is a miss.
func TestCacheVanished(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	blob := blobOf([]byte("x"))
	s.put(path(blob.Digest), []byte("x"))
	content, err := planned(newPlanner(s), engine(t)).GetBlob(t.Context(), blob.Digest)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	delete(s.objects, path(blob.Digest))
	s.mu.Unlock()
	if _, err := content.Open(t.Context()); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("error %v does not wrap sdk.ErrNotFound", err)
	}
}

// FinishPut is called once, and only when all parts were sent.
func TestCacheFinish(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if strings.HasSuffix(r.URL.Path, "/0") {
			return false
		}
		http.Error(w, "no", 400)
		return true
	}
	content := noise(20, 5*part)
	p := newPlanner(s)
	err := planned(p, engine(t)).PutBlob(t.Context(), blobOf(content), memory(content))
	if err == nil || s.object(path(blobOf(content).Digest)) != nil {
		t.Errorf("error %v, and the blob is there", err)
	}
	if !strings.Contains(err.Error(), "400") || errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
