package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/builtin/cache/local"
	"github.com/trowel-build/trowel/sdk"
)

func open(t *testing.T) *local.Cache {
	t.Helper()
	c, err := local.Open(local.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func putBlob(t *testing.T, c sdk.Cache, text string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	digest := "sha256:" + hex.EncodeToString(sum[:])
	err := c.PutBlob(t.Context(), sdk.Blob{Digest: sdk.Digest(digest), Size: int64(len(text))}, sdk.Content{
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte(text))), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func putRecord(t *testing.T, c sdk.Cache, key sdk.Key, value string) {
	t.Helper()
	if err := c.PutRecords(t.Context(), []sdk.Record{{Key: key, Value: []byte(value)}}); err != nil {
		t.Fatal(err)
	}
}

// What was found in caches is afterwards where they are exported to, with its blobs; nothing else is, and what was there stays.
func TestTo(t *testing.T) {
	t.Parallel()
	first, second, to := open(t), open(t), open(t)
	layer, other, lost := putBlob(t, first, "layer"), putBlob(t, second, "other"), "sha256:"+strings.Repeat("0", 64)
	unasked := putBlob(t, first, "unasked")
	putRecord(t, first, "step/a", "layer "+layer+" of diff ID "+lost)
	putRecord(t, first, "step/unasked", unasked)
	putRecord(t, first, "step/made-anew", "old")
	putRecord(t, first, "step/both", "first")
	putRecord(t, second, "step/both", "second")
	putRecord(t, second, "step/b", other)
	putRecord(t, to, "step/made-anew", "new")
	sources := []*Source{Watch(first), Watch(second), Watch(to)}
	keys := []sdk.Key{"step/a", "step/b", "step/both", "step/made-anew", "step/none"}
	for _, s := range sources {
		if _, err := s.GetRecords(t.Context(), keys); err != nil {
			t.Fatal(err)
		}
	}
	if err := To(t.Context(), []sdk.Cache{to}, sources); err != nil {
		t.Fatal(err)
	}
	records, err := to.GetRecords(t.Context(), append(keys, "step/unasked"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[sdk.Key]string{}
	for _, r := range records {
		got[r.Key] = string(r.Value)
	}
	want := map[sdk.Key]string{"step/a": "layer " + layer + " of diff ID " + lost, "step/b": other, "step/both": "first", "step/made-anew": "new"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	held, err := to.StatBlobs(t.Context(), []sdk.Digest{sdk.Digest(layer), sdk.Digest(other), sdk.Digest(unasked), sdk.Digest(lost)})
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, b := range held {
		digests = append(digests, string(b.Digest))
	}
	slices.Sort(digests)
	both := []string{layer, other}
	slices.Sort(both)
	if diff := cmp.Diff(both, digests); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
	if err := To(t.Context(), []sdk.Cache{brokenCache{}}, sources); err != nil {
		t.Errorf("what was given already is given again: %v", err)
	}
}

// A cache that is watched is as empty as it is.
func TestEmpty(t *testing.T) {
	t.Parallel()
	c := open(t)
	if !Watch(c).Empty() {
		t.Error("a new cache is said to hold something")
	}
	putRecord(t, c, "step/a", "value")
	if Watch(c).Empty() || Watch(brokenCache{}).Empty() {
		t.Error("a cache that holds something, or of which that is not known, is said to be empty")
	}
}

// brokenCache fails when it is touched.
type brokenCache struct{ sdk.Cache }
