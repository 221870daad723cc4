package cache

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
)

// memory is a backend that holds what a test puts there, or fails.
type memory struct {
	records map[sdk.Key][]byte
	blobs   map[sdk.Digest]bool
	err     error
	calls   int
}

func (m *memory) GetRecords(_ context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	m.calls++
	var out []sdk.Record
	for _, k := range keys {
		if v, ok := m.records[k]; ok {
			out = append(out, sdk.Record{Key: k, Value: v})
		}
	}
	out = append(out, sdk.Record{Key: "never asked", Value: []byte("x")})
	return out, m.err
}

func (m *memory) PutRecords(_ context.Context, records []sdk.Record) error {
	for _, r := range records {
		m.records[r.Key] = r.Value
	}
	return m.err
}

func (m *memory) StatBlobs(_ context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	var out []sdk.Blob
	for _, d := range digests {
		if m.blobs[d] {
			out = append(out, sdk.Blob{Digest: d})
		}
	}
	return out, m.err
}

func (m *memory) GetBlob(_ context.Context, d sdk.Digest) (sdk.Content, error) {
	if m.err != nil {
		return sdk.Content{}, m.err
	}
	if !m.blobs[d] {
		return sdk.Content{}, sdk.ErrNotFound
	}
	return sdk.Content{File: string(d)}, nil
}

func (m *memory) PutBlob(_ context.Context, b sdk.Blob, _ sdk.Content) error {
	m.blobs[b.Digest] = true
	return m.err
}

func newMemory(records map[sdk.Key][]byte) *memory {
	if records == nil {
		records = map[sdk.Key][]byte{}
	}
	return &memory{records: records, blobs: map[sdk.Digest]bool{}}
}

func TestTiers(t *testing.T) {
	t.Parallel()
	fast, slow := newMemory(map[sdk.Key][]byte{"a": []byte("fast")}), newMemory(map[sdk.Key][]byte{"a": []byte("slow"), "b": []byte("slow")})
	broken := newMemory(nil)
	broken.err = errors.New("no route")
	var warnings []string
	tiers := NewTiers([]Tier{
		{Name: "fast", Cache: fast, Roles: Read | Write},
		{Name: "broken", Cache: broken, Roles: Read},
		{Name: "slow", Cache: slow, Roles: Read},
	}, map[string]bool{"sha256:bad": true}, func(text string) { warnings = append(warnings, text) })

	got := tiers.Records(t.Context(), []sdk.Key{"a", "b", "c"})
	want := map[sdk.Key][]byte{"a": []byte("fast"), "b": []byte("slow")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if fast.calls != 1 || slow.calls != 1 {
		t.Errorf("%d and %d calls for one question", fast.calls, slow.calls)
	}
	if diff := cmp.Diff([]string{`cache "broken": look up records: no route`}, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}

	tiers.PutBlob(t.Context(), sdk.Blob{Digest: "sha256:x"}, sdk.Content{})
	if !fast.blobs["sha256:x"] || slow.blobs["sha256:x"] {
		t.Error("a blob was not put into just those that are written to")
	}
	slow.blobs["sha256:y"], slow.blobs["sha256:bad"] = true, true
	if c, err := tiers.Blob(t.Context(), "sha256:y"); err != nil || c.File != "sha256:y" {
		t.Errorf("blob of the slow tier: %v, %v", c, err)
	}
	if _, err := tiers.Blob(t.Context(), "sha256:bad"); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("a damaged blob: error %v", err)
	}
	held := tiers.Held(t.Context(), []sdk.Digest{"sha256:x", "sha256:y", "sha256:bad", "sha256:z"})
	if diff := cmp.Diff(map[sdk.Digest]bool{"sha256:x": true, "sha256:y": true}, held); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
}

func TestDecodeRefusesHalfRecords(t *testing.T) {
	t.Parallel()
	whole := Record{Layer: LayerRecord{DiffID: "sha256:1", Below: "x", Blob: "sha256:2", Size: 1, MediaType: "m", Index: "sha256:3", IndexSize: 1}}
	text, err := whole.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := decode(text); !ok || got != whole {
		t.Errorf("decode gave %+v, %v", got, ok)
	}
	for _, bad := range []string{"", "{", "null", "{}", `{"layer":{"diffID":"sha256:1"}}`, string(text[:len(text)-2])} {
		if _, ok := decode([]byte(bad)); ok {
			t.Errorf("%q passes for a record", bad)
		}
	}
}

// TestPlaces holds that remote backends are asked for what is not on this machine, and that what they have is put there.
func TestPlaces(t *testing.T) {
	t.Parallel()
	near, far := newMemory(map[sdk.Key][]byte{"a": []byte("near")}), newMemory(map[sdk.Key][]byte{"a": []byte("far"), "b": []byte("far")})
	tiers := NewTiers([]Tier{
		{Name: "near", Cache: near, Roles: Read | Write},
		{Name: "far", Cache: far, Roles: Read | Write, Place: Remote},
	}, nil, func(text string) { t.Error(text) })
	if got := tiers.Records(t.Context(), []sdk.Key{"a"}); string(got["a"]) != "near" || far.calls != 0 {
		t.Errorf("records %q after %d calls far away", got, far.calls)
	}
	got := tiers.Records(t.Context(), []sdk.Key{"a", "b", "c"})
	tiers.Wait()
	if diff := cmp.Diff(map[sdk.Key][]byte{"a": []byte("near"), "b": []byte("far")}, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if string(near.records["b"]) != "far" || far.calls != 1 {
		t.Errorf("near has %q after %d calls far away", near.records, far.calls)
	}
	tiers.PutBaseBlob(t.Context(), sdk.Blob{Digest: "sha256:base"}, sdk.Content{})
	if !near.blobs["sha256:base"] || far.blobs["sha256:base"] {
		t.Error("a blob of a base was not put into just what is near")
	}
	far.blobs["sha256:x"] = true
	found, err := tiers.Blob(t.Context(), "sha256:x")
	if err != nil {
		t.Fatal(err)
	}
	found.Fill(t.Context(), sdk.Blob{Digest: "sha256:x"}, sdk.Content{})
	if !near.blobs["sha256:x"] {
		t.Error("a blob that was found far away is not near now")
	}
}

// TestHopeless holds that a backend that does nothing but fail is left alone, for reading and writing apart.
func TestHopeless(t *testing.T) {
	t.Parallel()
	down := newMemory(nil)
	down.err = errors.New("no route")
	var warnings []string
	tiers := NewTiers([]Tier{{Name: "down", Cache: down, Roles: Read | Write, Place: Remote}}, nil, func(text string) { warnings = append(warnings, text) })
	for range 10 {
		tiers.Records(t.Context(), []sdk.Key{"a"})
	}
	if down.calls != maxFailures || len(warnings) != maxFailures {
		t.Errorf("%d calls and the warnings %q", down.calls, warnings)
	}
	if tiers.ReadOnly() {
		t.Error("a backend that cannot be read is not written to")
	}
	down.err = &sdk.Error{Code: sdk.CodeUnsupported, Message: "takes no blobs"}
	warnings = nil
	tiers.PutBlob(t.Context(), sdk.Blob{}, sdk.Content{})
	tiers.PutBlob(t.Context(), sdk.Blob{}, sdk.Content{})
	if !tiers.ReadOnly() || len(warnings) != 1 {
		t.Errorf("a backend that takes nothing is written to, with the warnings %q", warnings)
	}
}
