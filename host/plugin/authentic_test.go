package plugin

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
)

// shelf is a cache of records that others can write to.
type shelf struct {
	sdk.BlobStore
	records map[sdk.Key][]byte
}

func (s shelf) GetRecords(_ context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	var found []sdk.Record
	for _, k := range keys {
		if v, ok := s.records[k]; ok {
			found = append(found, sdk.Record{Key: k, Value: v})
		}
	}
	return found, nil
}

func (s shelf) PutRecords(_ context.Context, records []sdk.Record) error {
	for _, r := range records {
		s.records[r.Key] = r.Value
	}
	return nil
}

func TestPoisonedRecordsAreMisses(t *testing.T) {
	t.Parallel()
	s := shelf{records: map[sdk.Key][]byte{}}
	ours := authenticated{s, []byte("a key that we share")}
	theirs := authenticated{s, []byte("a key of their own!")}
	put := func(a authenticated, key sdk.Key, value string) {
		t.Helper()
		if err := a.PutRecords(t.Context(), []sdk.Record{{Key: key, Value: []byte(value)}}); err != nil {
			t.Fatal(err)
		}
	}
	put(ours, "step/good", "layers")
	put(ours, "step/empty", "")
	put(ours, "step/changed", "layers")
	put(theirs, "step/forged", "layers")
	s.records["step/plain"] = []byte("layers")
	s.records["step/changed"][len(s.records["step/changed"])-1] ^= 1
	s.records["step/moved"] = s.records["step/good"]
	s.records["step/short"] = s.records["step/good"][:31]

	got, err := ours.GetRecords(t.Context(), []sdk.Key{"step/good", "step/empty", "step/changed", "step/forged", "step/plain", "step/moved", "step/short", "step/none"})
	if err != nil {
		t.Fatal(err)
	}
	want := []sdk.Record{{Key: "step/good", Value: []byte("layers")}, {Key: "step/empty", Value: []byte{}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}
