package host

import (
	"context"
	"strings"
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

// TestKeptPlans holds that a plan that is none does not fail a build either: the plugin is asked, and its answer kept.
func TestKeptPlans(t *testing.T) {
	t.Parallel()
	const good = `{"plan":{"effects":[{"remove":{"path":"/kept"}}]}}`
	for kept, want := range map[string]int{
		``: 0, `junk`: 0, `{"plans":[` + good + `]}`: 1,
		`{"plans":[{"plan":{"effects":[{}]}}]}`:                                                 0,
		`{"plans":[{"plan":{"effects":[{"later":{}}]}},` + good + `]}`:                          1,
		`{"plans":[{"plan":{"effects":[{"remove":{"path":"/"},"mkdir":{"path":"/"}}]}}]}`:       0,
		`{"plans":[{"plan":{"effects":[{}` + strings.Repeat(",{}", 2000) + `]}},` + good + `]}`: 1,
	} {
		backend := &ownCache{records: map[sdk.Key][]byte{"plan/id": []byte(kept)}}
		p := &planner{build: &build{tiers: cache.NewTiers([]cache.Tier{{Cache: backend, Roles: cache.Read}}, nil, func(string) {})}}
		if got := p.keptPlans(t.Context(), "plan/id").Plans; len(got) != want {
			t.Errorf("%.80s: %d plans, want %d", kept, len(got), want)
		}
	}
}
