package local

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
)

// age makes an entry look as if it was used that long ago.
func age(t *testing.T, c *Cache, content []byte, by time.Duration) {
	t.Helper()
	b := blobOf(content)
	then := time.Now().Add(-by)
	if err := c.root.Chtimes(blobName(strings.TrimPrefix(string(b.Digest), "sha256:"), b.Size), then, then); err != nil {
		t.Fatal(err)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		options PruneOptions
		max     int64
		left    string // which of the blobs a (oldest), b, c (newest) are left
	}{
		"all":              {options: PruneOptions{Scope: ScopeAll}, left: ""},
		"older":            {options: PruneOptions{OlderThan: 90 * time.Minute}, left: "c"},
		"keep two":         {options: PruneOptions{KeepBytes: 2 * 8192}, left: "bc"},
		"keep one":         {options: PruneOptions{KeepBytes: 2*8192 - 1}, left: "c"},
		"keep more":        {options: PruneOptions{KeepBytes: 1 << 30}, left: "abc"},
		"both":             {options: PruneOptions{KeepBytes: 8192, OlderThan: 150 * time.Minute}, left: "c"},
		"nothing said":     {left: "abc"},
		"what is max_size": {max: 2 * 8192, left: "bc"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c := openCache(t, Config{Dir: dir})
			for i, letter := range "abc" {
				content := bytes.Repeat([]byte(string(letter)), 8000)
				put(t, c, content)
				age(t, c, content, time.Duration(3-i)*time.Hour)
			}
			freed, err := openCache(t, Config{Dir: dir, MaxSize: test.max}).Prune(t.Context(), test.options)
			if err != nil {
				t.Fatal(err)
			}
			left := ""
			for _, letter := range "abc" {
				if holds(t, c, blobOf(bytes.Repeat([]byte(string(letter)), 8000)).Digest) {
					left += string(letter)
				}
			}
			if left != test.left {
				t.Errorf("%q is left, want %q", left, test.left)
			}
			gone := 3 - len(test.left)
			if diff := cmp.Diff(Freed{Entries: gone, Bytes: int64(gone) * 8192}, freed); diff != "" {
				t.Errorf("freed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMaxSizeRemovesWhatIsUnused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	earlier := openCache(t, Config{Dir: dir})
	var old [][]byte
	for i := range 10 {
		content := bytes.Repeat([]byte{byte(i)}, 40_000)
		old = append(old, content)
		put(t, earlier, content)
		age(t, earlier, content, time.Hour)
	}
	c := openCache(t, Config{Dir: dir, MaxSize: 10 * 40_960})
	if _, err := c.GetBlob(t.Context(), blobOf(old[0]).Digest); err != nil { // used: the oldest no more
		t.Fatal(err)
	}
	fresh := bytes.Repeat([]byte("fresh"), 20_000)
	put(t, c, fresh)
	usage, err := c.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if usage.Bytes > 10*40_960 {
		t.Errorf("the cache has %d bytes after a put, above its limit", usage.Bytes)
	}
	if !holds(t, c, blobOf(old[0]).Digest) || !holds(t, c, blobOf(fresh).Digest) {
		t.Error("what is in use was removed")
	}
	if holds(t, c, blobOf(old[1]).Digest) {
		t.Error("what was not used for longest is still there")
	}
	// More than the limit in one build: nothing of it goes.
	for i := range 20 {
		put(t, c, bytes.Repeat([]byte{'n', byte(i)}, 20_000))
	}
	for i := range 20 {
		if !holds(t, c, blobOf(bytes.Repeat([]byte{'n', byte(i)}, 20_000)).Digest) {
			t.Errorf("blob %d that was just put is gone", i)
		}
	}
}

func TestListAndUsage(t *testing.T) {
	t.Parallel()
	c := openCache(t, Config{Dir: t.TempDir()})
	content := bytes.Repeat([]byte("x"), 5000)
	put(t, c, content)
	age(t, c, content, time.Hour)
	if err := c.PutRecords(t.Context(), []sdk.Record{{Key: "kind/a", Value: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	entries, err := c.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		if entries[i].LastUsed.IsZero() {
			t.Errorf("entry %d was never used", i)
		}
		entries[i].LastUsed = time.Time{}
	}
	want := []Entry{{Key: "kind/a", Bytes: 4096}, {Digest: blobOf(content).Digest, Bytes: 8192}}
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	usage, err := c.Usage(t.Context())
	if diff := cmp.Diff(Usage{Records: 1, Blobs: 1, Bytes: 12288}, usage); diff != "" || err != nil {
		t.Errorf("Usage, error %v (-want +got):\n%s", err, diff)
	}
}
