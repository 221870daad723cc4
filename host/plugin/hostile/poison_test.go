package hostile_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

// bucket keeps what is put into it. Under /poiso/ and /short/ it has the blobs with other bytes, and cut short.
type bucket struct {
	*httptest.Server

	mu      sync.Mutex
	objects map[string][]byte
	served  map[string]int // by the first part of the path
}

func newBucket(t *trial) *bucket {
	b := &bucket{objects: map[string][]byte{}, served: map[string]int{}}
	b.Server = httptest.NewServer(b)
	t.Cleanup(b.Close)
	return b
}

// ServeHTTP implements [http.Handler].
func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	place, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if r.Method == http.MethodPut {
		b.objects[r.URL.Path] = body
		return
	}
	object, ok := b.objects[r.URL.Path]
	if place == "poiso" || place == "short" {
		object, ok = b.objects["/blob/"+name]
		object = bytes.Clone(object)
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	b.served[place]++
	switch place {
	case "poiso":
		object = bytes.Replace(object, []byte("a harmless file"), []byte("a harmful file!"), 1)
		object[0] ^= 1
	case "short":
		object = object[:len(object)/2]
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(object)))
	_, _ = w.Write(object) // a client may have gone
}

// reset forgets what was served.
func (b *bucket) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.served = map[string]int{}
}

func (b *bucket) count(place string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.served[place]
}

// tainted is a bucket that an honest plugin filled, and that a poisonous one reads.
type tainted struct {
	t     *trial
	store *bucket
	key   *service.SecretSource // of the records, if they have one
}

// build builds with the plugin, and returns the image's digest and what was shown.
func (p tainted) build(poison string) (digest, shown string) {
	p.t.Helper()
	p.store.reset()
	sp := spec("poison", sdk.KindCache)
	sp.Config = map[string]any{"url": p.store.URL, "poison": poison}
	sp.Allow.Hosts = []string{p.store.URL}
	sp.RecordKey = p.key
	if poison != "" {
		sp.Roles = []string{"read"} // so that the bucket stays as it is
	}
	s := load(p.t, sp)
	b := newBench(p.t, s)
	write(p.t, b.context, "a", strings.Repeat("a harmless file\n", 1000))
	write(p.t, b.context, "b", "another")
	write(p.t, b.context, "Dockerfile", "FROM scratch\nCOPY a /a\nCOPY b /b\nWORKDIR /c\n")
	digest, err := b.build()
	if err != nil {
		p.t.Fatalf("%s: %v", poison, err)
	}
	s.works()
	return digest, b.shown.String()
}

func cached(shown string) bool { return strings.Contains(strings.ToLower(shown), "cached") }

func testPoison(t *trial) {
	t.Parallel()
	must(t, compile("poison"))
	p := tainted{t, newBucket(t), &service.SecretSource{Env: canaryVariable}}
	want, _ := p.build("")
	if got, shown := p.build(""); got != want || p.store.count("blob") == 0 || !cached(shown) {
		t.Errorf("from an honest cache: %s, want %s: %s", got, want, shown)
	}
	for _, poison := range []string{"poisoned blob", "short blob", "garbled record", "moved record", "made-up record"} {
		got, shown := p.build(poison)
		if got != want {
			t.Errorf("%s: the image is %s, want %s", poison, got, want)
		}
		if blob := strings.HasSuffix(poison, "blob"); blob && p.store.count(poison[:5]) == 0 || !blob && cached(shown) {
			t.Errorf("%s: nothing was poisoned, or it was believed: %v\n%s", poison, p.store.served, shown)
		}
	}
	t.happens("blobs are held against their digests, and records, where `record-key` is set, against their MAC: what is wrong is a miss, and the image is the same")
	p = tainted{t, newBucket(t), nil}
	p.build("")
	for _, poison := range []string{"garbled record", "made-up record"} {
		if got, shown := p.build(poison); got != want {
			t.Errorf("%s, without a key: the image is %s, want %s\n%s", poison, got, want, shown)
		}
	}
}
