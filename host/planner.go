package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/observe"
	"github.com/trowel-build/trowel/host/internal/plan"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

// planner asks the handlers of instructions what uses of theirs do, or takes what one answered before, where all that it
// read then is as it was.
type planner struct {
	build   *build
	plan    *plan.Plan
	lowered loweredStages // of the stages before
}

// keptPlans are the plans of one call, the newest first.
type keptPlans struct {
	Plans []keptPlan `json:"plans"`
}

// keptPlan is a plan and what it rests on.
type keptPlan struct {
	Reads []observe.Read `json:"reads,omitempty"`
	Plan  sdk.Plan       `json:"plan"`
}

const (
	// maxKeptPlans is how many plans of one call are kept: branches that differ in what is read take turns.
	maxKeptPlans = 8
	// maxKeptBytes is the most that a record may have.
	maxKeptBytes = 1 << 20
)

// Plan is [lower.Planner]'s.
func (p *planner) Plan(ctx context.Context, call sdk.Call, before lower.Before) (sdk.Plan, error) {
	i := slices.IndexFunc(p.build.described, func(d describedInstruction) bool { return d.Keyword == call.Keyword })
	if i < 0 {
		return sdk.Plan{}, fmt.Errorf("no plugin has the instruction %s", call.Keyword)
	}
	handler := p.build.described[i].by
	above := &stageAbove{}
	above.tree = once(func(context.Context) (*filetree.Tree, error) {
		above.asked.Store(true)
		// Not the context of the plugin's call: its deadline is not that of a build.
		return p.build.stageTree(ctx, p.plan, p.lowered, before)
	})
	files := observe.NewFiles(observe.Trees{sdk.RootContext: p.build.contextTree, sdk.RootStage: above.tree})
	key, keeps := planKey(handler, call)
	var kept keptPlans
	if keeps && !p.build.noCache(before.Stage) {
		kept = p.keptPlans(ctx, key)
		for _, k := range kept.Plans {
			if observe.Same(ctx, files, k.Reads) {
				p.note(call, k.Plan)
				return k.Plan, nil
			}
		}
	}
	plan, recorder, err := above.plan(ctx, handler, call, patient{files, ctx})
	if err != nil {
		// Whoever reads a damaged blob while it arrives sees no more than that its bytes make no sense.
		return sdk.Plan{}, errors.Join(err, p.build.waitParts())
	}
	p.note(call, plan)
	if reads, whole := recorder.Reads(); keeps && whole {
		p.keep(ctx, key, kept, keptPlan{Reads: reads, Plan: plan})
	}
	return plan, nil
}

// patient reads in the context of the build: that of a plugin's call would end what is on its way for others as well.
type patient struct {
	files sdk.FileSystem
	ctx   context.Context //nolint:containedctx // which is what it is for
}

// ReadFile is [sdk.FileSystem]'s.
func (p patient) ReadFile(_ context.Context, root sdk.Root, name string) ([]byte, error) {
	return p.files.ReadFile(p.ctx, root, name)
}

// Stat is [sdk.FileSystem]'s.
func (p patient) Stat(_ context.Context, root sdk.Root, name string) (sdk.FileInfo, error) {
	return p.files.Stat(p.ctx, root, name)
}

// ReadDir is [sdk.FileSystem]'s.
func (p patient) ReadDir(_ context.Context, root sdk.Root, name string) ([]sdk.FileInfo, error) {
	return p.files.ReadDir(p.ctx, root, name)
}

// stageAbove is what the instructions above make, for a plugin to read.
type stageAbove struct {
	tree  treeFunc
	asked atomic.Bool
}

// plan asks a handler. If it ran out of time because the instructions above had to be run for it, it is asked again.
func (s *stageAbove) plan(ctx context.Context, h Instructions, call sdk.Call, files sdk.FileSystem) (sdk.Plan, *observe.Recorder, error) {
	for again := false; ; again = true {
		recorder := observe.NewRecorder(files)
		plan, err := h.Handler.Plan(service.WithFiles(sdk.WithServices(ctx, sdk.Services{Files: recorder}), recorder), call)
		if s.asked.Load() {
			if _, above := s.tree(ctx); above != nil {
				return sdk.Plan{}, nil, above
			}
		}
		coded, ok := errors.AsType[*sdk.Error](err)
		timeout := ok && coded.Code == sdk.CodeTimeout
		if fault := recorder.Fault(); fault != nil && !timeout {
			return sdk.Plan{}, nil, fault
		}
		if err == nil {
			return plan, recorder, nil
		}
		if again || !timeout || !s.asked.Load() {
			return sdk.Plan{}, nil, fmt.Errorf("plugin %q: %w", h.Name, service.OneLine(err))
		}
	}
}

// note shows what a plugin has to say.
func (p *planner) note(call sdk.Call, plan sdk.Plan) {
	for _, text := range plan.Notes {
		p.build.progress().Report(Event{Time: time.Now(), Kind: "message", Level: "info", Text: service.Clean(call.Keyword + ": " + text)})
	}
}

// planKey is the record of all plans of one call; it is false for a handler whose plans are not kept.
func planKey(h Instructions, call sdk.Call) (sdk.Key, bool) {
	if h.Identity == "" {
		return "", false
	}
	text, err := json.Marshal(struct {
		Schema   string
		Identity string
		Call     sdk.Call
	}{"trowel plan 1", h.Identity, call})
	if err != nil {
		return "", false
	}
	sum := sha256.Sum256(text)
	return sdk.Key("plan/" + hex.EncodeToString(sum[:])), true
}

func (p *planner) keptPlans(ctx context.Context, key sdk.Key) keptPlans {
	var kept keptPlans
	if value, ok := p.build.tiers.Records(ctx, []sdk.Key{key})[key]; ok {
		if json.Unmarshal(value, &kept) != nil {
			return keptPlans{} // a backend may hold anything
		}
	}
	kept.Plans = slices.DeleteFunc(kept.Plans, func(k keptPlan) bool { return lower.CheckPlan(k.Plan) != nil })
	return kept
}

// keep stores a plan before those that are kept already.
func (p *planner) keep(ctx context.Context, key sdk.Key, kept keptPlans, plan keptPlan) {
	kept.Plans = append([]keptPlan{plan}, kept.Plans...)
	for n := min(len(kept.Plans), maxKeptPlans); n > 0; n-- {
		value, err := json.Marshal(keptPlans{kept.Plans[:n]})
		if err == nil && len(value) <= maxKeptBytes {
			p.build.tiers.PutRecords(ctx, []sdk.Record{{Key: key, Value: value}})
			return
		}
	}
}

// treeFunc finds a tree.
type treeFunc func(ctx context.Context) (*filetree.Tree, error)

// once asks for a tree the first time only.
func once(find treeFunc) treeFunc {
	var done sync.Once
	var tree *filetree.Tree
	var err error
	return func(ctx context.Context) (*filetree.Tree, error) {
		done.Do(func() { tree, err = find(ctx) })
		return tree, err
	}
}

// readContext finds the index of the whole build context.
func (b *build) readContext(ctx context.Context) (*filetree.Tree, error) {
	return b.sources.contexts[effect.MainContext].Tree(ctx, []string{"."})
}
