package plugintest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/trowel-build/trowel/sdk"
)

const maxRecord = 1 << 20

func recordChecks() []check[sdk.Cache] {
	return []check[sdk.Cache]{
		{"records/round trip", recordRoundTrip},
		{"records/what is missing is left out", recordMissing},
		{"records/a batch of 1000", recordBatch},
		{"records/no keys and no records", recordNone},
		{"records/the later one replaces the earlier", recordOverwrite},
		{"records/keys that look alike are different", recordLookAlikes},
		{"records/a bad key is refused", recordBadKey},
		{"records/a value above 1 MiB is refused", recordTooLarge},
		{"records/concurrent puts of one key leave one whole", recordConcurrent},
		{"records/a cancelled put leaves a whole record or none", recordCancelled},
		{"records/the value belongs to the caller", recordOwnership},
	}
}

// getRecords answers with the records as a map.
func getRecords(t *testing.T, c sdk.RecordStore, keys ...sdk.Key) map[sdk.Key][]byte {
	t.Helper()
	records, err := c.GetRecords(t.Context(), keys)
	if err != nil {
		t.Fatalf("GetRecords of %d keys: %v", len(keys), err)
	}
	got := map[sdk.Key][]byte{}
	for _, r := range records {
		if _, twice := got[r.Key]; twice {
			t.Errorf("GetRecords answered %q twice", r.Key)
		}
		got[r.Key] = r.Value
	}
	return got
}

func putRecords(t *testing.T, c sdk.RecordStore, records ...sdk.Record) {
	t.Helper()
	if err := c.PutRecords(t.Context(), records); err != nil {
		t.Fatalf("PutRecords of %d records: %v", len(records), err)
	}
}

func wantRecords(t *testing.T, got map[sdk.Key][]byte, want ...sdk.Record) {
	t.Helper()
	for _, w := range want {
		value, ok := got[w.Key]
		if !ok {
			t.Errorf("record %q is missing", w.Key)
		} else if !bytes.Equal(value, w.Value) {
			t.Errorf("record %q has %d bytes that are not the %d put", w.Key, len(value), len(w.Value))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
}

func recordRoundTrip(t *testing.T, c sdk.Cache) {
	records := []sdk.Record{
		{Key: "definition/sha256:00", Value: []byte(`{"layers":[]}`)},
		{Key: "binary/0", Value: []byte("\x00\xff\n\r\x1a")},
		{Key: "empty/0", Value: []byte{}},
		{Key: "largest/0", Value: noise("largest", maxRecord)},
		{Key: sdk.Key("k/" + strings.Repeat("a", 198)), Value: []byte("the longest key")},
	}
	putRecords(t, c, records...)
	var keys []sdk.Key
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	wantRecords(t, getRecords(t, c, keys...), records...)
}

func recordMissing(t *testing.T, c sdk.Cache) {
	held := sdk.Record{Key: "kind/held", Value: []byte("x")}
	putRecords(t, c, held)
	wantRecords(t, getRecords(t, c, "kind/not-held", held.Key, "kind"), held)
}

func recordBatch(t *testing.T, c sdk.Cache) {
	var held []sdk.Record
	var keys []sdk.Key
	for i := range 1000 {
		key := sdk.Key(fmt.Sprintf("batch/%04d", i))
		keys = append(keys, key)
		if i%2 == 0 {
			held = append(held, sdk.Record{Key: key, Value: noise(string(key), 100)})
		}
	}
	putRecords(t, c, held...)
	wantRecords(t, getRecords(t, c, keys...), held...)
}

func recordNone(t *testing.T, c sdk.Cache) {
	putRecords(t, c)
	wantRecords(t, getRecords(t, c))
}

func recordOverwrite(t *testing.T, c sdk.Cache) {
	const key = "kind/key"
	putRecords(t, c, sdk.Record{Key: key, Value: []byte("the earlier value, which is longer")})
	later := sdk.Record{Key: key, Value: []byte("the later")}
	putRecords(t, c, later)
	wantRecords(t, getRecords(t, c, key), later)
}

func recordLookAlikes(t *testing.T, c sdk.Cache) {
	var records []sdk.Record
	var keys []sdk.Key
	for _, key := range []sdk.Key{"a/b", "a//b", "/a/b", "a/b/", "a-b", "a:b", "a/b/c", "a", "ab"} {
		keys = append(keys, key)
		records = append(records, sdk.Record{Key: key, Value: []byte("value of " + key)})
	}
	putRecords(t, c, records...)
	wantRecords(t, getRecords(t, c, keys...), records...)
}

func recordBadKey(t *testing.T, c sdk.Cache) {
	bad := map[string]sdk.Key{
		"empty": "", "upward": "../escape", "upward inside": "a/../../escape", "nul": "a/\x00b", "upper case": "A/b",
		"space": "a/ b", "newline": "a/b\n", "not ASCII": "a/é", "201 bytes": sdk.Key("a/" + strings.Repeat("b", 199)),
		"very long": sdk.Key(strings.Repeat("c", 1<<16)),
	}
	for name, key := range bad {
		if err := c.PutRecords(t.Context(), []sdk.Record{{Key: key, Value: []byte("x")}}); err == nil {
			t.Errorf("PutRecords accepted a key that is bad: %s", name)
		}
		if records, err := c.GetRecords(t.Context(), []sdk.Key{key}); err == nil && len(records) > 0 {
			t.Errorf("GetRecords answered a key that is bad: %s", name)
		}
	}
}

func recordTooLarge(t *testing.T, c sdk.Cache) {
	if err := c.PutRecords(t.Context(), []sdk.Record{{Key: "kind/large", Value: make([]byte, maxRecord+1)}}); err == nil {
		t.Error("PutRecords accepted a value of 1 MiB and a byte")
	}
	wantRecords(t, getRecords(t, c, "kind/large"))
}

func recordConcurrent(t *testing.T, c sdk.Cache) {
	const key, writers = "kind/contended", 8
	values := map[string]bool{}
	for i := range writers {
		values[string(noise(fmt.Sprint(i), 10_000+i))] = true
	}
	var wg sync.WaitGroup
	for value := range values {
		wg.Go(func() {
			if err := c.PutRecords(t.Context(), []sdk.Record{{Key: key, Value: []byte(value)}}); err != nil {
				t.Errorf("PutRecords: %v", err)
			}
		})
		wg.Go(func() {
			records, err := c.GetRecords(t.Context(), []sdk.Key{key})
			if err != nil {
				t.Errorf("GetRecords meanwhile: %v", err)
			}
			if len(records) == 1 && !values[string(records[0].Value)] {
				t.Errorf("GetRecords meanwhile answered %d bytes that nobody put", len(records[0].Value))
			}
		})
	}
	wg.Wait()
	if got := getRecords(t, c, key)[key]; !values[string(got)] {
		t.Errorf("the record has %d bytes that nobody put", len(got))
	}
}

func recordCancelled(t *testing.T, c sdk.Cache) {
	const key = "kind/cancelled"
	value := noise(key, 100_000)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.PutRecords(ctx, []sdk.Record{{Key: key, Value: value}})
	got, held := getRecords(t, c, key)[key]
	switch {
	case err == nil && !held:
		t.Error("PutRecords said that it stored the record, which is not there")
	case held && !bytes.Equal(got, value):
		t.Errorf("the record has %d bytes that are not the %d put", len(got), len(value))
	}
}

func recordOwnership(t *testing.T, c sdk.Cache) {
	const key = "kind/owned"
	value := []byte("before")
	putRecords(t, c, sdk.Record{Key: key, Value: value})
	copy(value, "after!")
	got := getRecords(t, c, key)[key]
	if string(got) != "before" {
		t.Errorf("changing the slice that was put changed the record to %q", got)
	}
	if len(got) > 0 {
		got[0] = '!'
	}
	if got := getRecords(t, c, key)[key]; string(got) != "before" {
		t.Errorf("changing the slice that was answered changed the record to %q", got)
	}
}
