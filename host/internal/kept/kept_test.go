package kept

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/sdk"
)

// shelf is a cache that says of its blobs what a test wants.
type shelf struct {
	records map[sdk.Key][]byte
	blobs   map[sdk.Digest][]byte
}

func (s *shelf) GetRecords(_ context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	var found []sdk.Record
	for _, k := range keys {
		if v, ok := s.records[k]; ok {
			found = append(found, sdk.Record{Key: k, Value: v})
		}
	}
	return found, nil
}

func (s *shelf) PutRecords(_ context.Context, records []sdk.Record) error {
	for _, r := range records {
		s.records[r.Key] = r.Value
	}
	return nil
}

func (s *shelf) StatBlobs(_ context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	var found []sdk.Blob
	for _, d := range digests {
		if b, ok := s.blobs[d]; ok {
			found = append(found, sdk.Blob{Digest: d, Size: int64(len(b))})
		}
	}
	return found, nil
}

func (s *shelf) GetBlob(_ context.Context, d sdk.Digest) (sdk.Content, error) {
	b, ok := s.blobs[d]
	if !ok {
		return sdk.Content{}, sdk.ErrNotFound
	}
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}, nil
}

func (s *shelf) PutBlob(ctx context.Context, b sdk.Blob, content sdk.Content) error {
	r, err := content.Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	s.blobs[b.Digest], err = io.ReadAll(r)
	return err
}

func newCopies(t *testing.T, s *shelf) Copies {
	t.Helper()
	store, err := blob.Open(t.TempDir() + "/blobs")
	if err != nil {
		t.Fatal(err)
	}
	tiers := []cache.Tier{{Cache: s, Roles: cache.Read | cache.Write}}
	return Copies{Store: store, Cache: cache.NewTiers(tiers, nil, func(text string) { t.Log(text) })}
}

// TestCopies holds that the next build finds a copy, and none that is damaged.
func TestCopies(t *testing.T) {
	t.Parallel()
	s := &shelf{map[sdk.Key][]byte{}, map[sdk.Digest][]byte{}}
	first := newCopies(t, s)
	w, err := first.Store.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "content"); err != nil {
		t.Fatal(err)
	}
	b, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Keep(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	d := digest.FromString("content")
	for kept, want := range map[string]bool{"content": true, "contenT": false, "conten": false, "content ": false, "": false} {
		s.blobs[sdk.Digest(d)] = []byte(kept)
		f, ok := newCopies(t, s).Find(t.Context(), d)
		if ok != want {
			t.Errorf("a copy %q: %v, want %v", kept, ok, want)
		}
		if !ok {
			continue
		}
		if e, err := f.Entry(t.Context(), "f"); err != nil || e.Size != 7 || e.Mode != 0o600 {
			t.Errorf("%+v, %v", e, err)
		}
	}
	delete(s.blobs, sdk.Digest(d))
	if _, ok := newCopies(t, s).Find(t.Context(), d); ok {
		t.Error("found what is not there")
	}
	for _, bad := range []digest.Digest{"", "sha256:..", "../../etc/passwd", "md5:900150983cd24fb0d6963f7d28e17f72"} {
		if _, ok := first.Find(t.Context(), bad); ok {
			t.Errorf("found %q", bad)
		}
	}
}

// TestRecords holds that a record that makes no sense counts as none.
func TestRecords(t *testing.T) {
	t.Parallel()
	c := newCopies(t, &shelf{map[sdk.Key][]byte{"junk": []byte("junk"), "list": []byte("[]"), "other": []byte(`{"N":"x"}`)}, nil})
	type record struct{ N int }
	if err := c.Note(t.Context(), "good", record{7}); err != nil {
		t.Fatal(err)
	}
	var r record
	if !c.Look(t.Context(), "good", &r) || r.N != 7 {
		t.Errorf("got %+v", r)
	}
	for _, key := range []sdk.Key{"junk", "list", "other", "absent"} {
		if c.Look(t.Context(), key, &r) {
			t.Errorf("%s: %+v", key, r)
		}
	}
}
