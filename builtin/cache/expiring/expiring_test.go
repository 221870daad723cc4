package expiring

import (
	"testing"
	"time"

	"github.com/trowel-build/trowel/builtin/cache/local"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugintest"
)

func open(t *testing.T, maxAge time.Duration) *Cache {
	t.Helper()
	inner, err := local.Open(local.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := inner.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := New(inner, maxAge)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	plugintest.Blobs(t, func(t *testing.T) sdk.BlobStore { return open(t, time.Hour) })
}

func TestExpires(t *testing.T) {
	t.Parallel()
	c := open(t, time.Hour)
	now := time.Now()
	c.now = func() time.Time { return now }
	ctx, key := t.Context(), sdk.Key("step/1")
	if err := c.PutRecords(ctx, []sdk.Record{{Key: key, Value: []byte("value")}}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {59 * time.Minute, 1}, {2 * time.Hour, 0}} {
		c.now = func() time.Time { return now.Add(tt.after) }
		got, err := c.GetRecords(ctx, []sdk.Key{key, "step/2"})
		if err != nil || len(got) != tt.want || tt.want == 1 && (got[0].Key != key || string(got[0].Value) != "value") {
			t.Errorf("after %s: %v, %v", tt.after, got, err)
		}
	}
	if got, err := c.Cache.GetRecords(ctx, []sdk.Key{key}); err != nil || len(got) > 0 {
		t.Errorf("others see %v, %v", got, err)
	}
	if _, err := New(c, 0); err == nil {
		t.Error("records that hold for no time")
	}
}
