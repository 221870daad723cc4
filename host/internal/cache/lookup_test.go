package cache

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
)

// asked is a cache that notes what it is asked, and has everything.
type asked struct {
	sdk.Cache
	keys    []sdk.Key
	digests []sdk.Digest
}

func (a *asked) GetRecords(_ context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	a.keys = append(a.keys, keys...)
	return nil, nil
}

func (a *asked) StatBlobs(_ context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	a.digests = append(a.digests, digests...)
	return nil, nil
}

// TestEachIsAskedOnce: stages share steps, and steps layers; a cache is asked for each of them once, as its contract says.
func TestEachIsAskedOnce(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]Place{"near": Near, "remote": Remote} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &asked{}
			tiers := NewTiers([]Tier{{Name: "a", Cache: a, Roles: Read, Place: place}}, nil, func(text string) { t.Error(text) })
			tiers.Records(t.Context(), []sdk.Key{"b", "a", "b", "a"})
			tiers.Held(t.Context(), []sdk.Digest{"sha256:2", "sha256:1", "sha256:2"})
			if diff := cmp.Diff([]sdk.Key{"a", "b"}, a.keys); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]sdk.Digest{"sha256:2", "sha256:1"}, a.digests); diff != "" {
				t.Errorf("digests (-want +got):\n%s", diff)
			}
		})
	}
}
