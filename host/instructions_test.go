package host

import (
	"context"
	"testing"

	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/sdk"
)

type describer struct{}

func (describer) Describe(context.Context) ([]sdk.Instruction, error) {
	return []sdk.Instruction{{Keyword: "GOOD"}}, nil
}

func (describer) Plan(context.Context, sdk.Call) (sdk.Plan, error) { return sdk.Plan{}, nil }

// TestKeptDescriptions holds that a backend with nonsense under the key of a description does not fail a build.
func TestKeptDescriptions(t *testing.T) {
	t.Parallel()
	for kept, want := range map[string]string{
		``: "GOOD", `junk`: "GOOD", `[]`: "GOOD", `[{"keyword":"not one"}]`: "GOOD", `[{"keyword":"KEPT"},{"keyword":"RUN"}]`: "GOOD",
		`[{"keyword":"KEPT"}]`: "KEPT",
	} {
		backend := &ownCache{records: map[sdk.Key][]byte{"describe/id": []byte(kept)}}
		b := &build{tiers: cache.NewTiers([]cache.Tier{{Cache: backend, Roles: cache.Read}}, nil, func(string) {})}
		list, err := b.descriptionOf(t.Context(), Instructions{Handler: describer{}, Identity: "id"})
		if err != nil || len(list) != 1 || list[0].Keyword != want {
			t.Errorf("%s: %v, %v", kept, list, err)
		}
	}
}
