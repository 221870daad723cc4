package host

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/plan"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// loweredStages are the stages of a plan as steps, by ID.
type loweredStages map[string]*lower.Lowered

// runs says whether any step runs a process.
func (l loweredStages) runs() bool {
	for _, s := range l {
		for _, st := range s.Steps {
			for _, x := range st.Effects {
				if _, ok := x.(effect.Exec); ok {
					return true
				}
			}
		}
	}
	return false
}

// wantedImage is an image that has to be opened.
type wantedImage struct {
	key         stage.ImageKey
	platform    ocispec.Platform
	instruction dockerfile.Instruction
	word, hint  string
}

// resolve plans the build for each platform, opens the images that it starts from and lowers the instructions.
func (b *build) resolve(ctx context.Context) (loweredStages, error) {
	if err := b.planAll(ctx); err != nil {
		return nil, err
	}
	lowered := loweredStages{}
	var warnings []dockerfile.Warning
	for _, p := range b.plans {
		warnings = append(warnings, p.Warnings...)
		for _, s := range p.Stages {
			l, err := lower.Stage(ctx, p, s, b.startState(s, lowered), &planner{build: b, plan: p, lowered: lowered})
			if err != nil {
				return nil, err
			}
			warnings = append(warnings, l.Warnings...)
			lowered[s.ID] = l
		}
	}
	b.warn(warnings)
	return lowered, nil
}

// planAll makes the plans and opens their images. A base image's ONBUILD triggers can need further images, so this goes on
// until none are left.
func (b *build) planAll(ctx context.Context) (err error) {
	b.plans = make([]*plan.Plan, len(b.platforms))
	for i, p := range b.platforms {
		o := plan.Options{
			Target: b.Target, BuildArgs: b.BuildArgs, Platform: p, BuildPlatform: platforms.DefaultSpec(),
			Contexts: slices.Sorted(maps.Keys(b.NamedContexts)),
		}
		if b.targets.index {
			o.Scope = platforms.FormatAll(p)
		}
		if b.plans[i], err = plan.New(b.file, o); err != nil {
			return err
		}
	}
	for again := true; again; {
		if err := b.openImages(ctx, b.wantedImages()); err != nil {
			return err
		}
		again = false
		for i, p := range b.plans {
			triggers := b.triggers(p)
			if len(triggers) == 0 {
				continue
			}
			again = true
			if b.plans[i], err = p.WithTriggers(triggers); err != nil {
				return err
			}
		}
	}
	return nil
}

// warn shows warnings, each once: most are the same for all platforms.
func (b *build) warn(all []dockerfile.Warning) {
	shown := map[dockerfile.Warning]bool{}
	for _, w := range all {
		if !shown[w] {
			shown[w] = true
			b.progress().Report(warning(b.textOf(w)))
		}
	}
}

func (b *build) textOf(w dockerfile.Warning) string {
	text := w.Text
	if w.Rule != "" {
		text = w.Rule + ": " + text
	}
	if w.Position.First > 0 {
		text = fmt.Sprintf("%s:%d: %s", b.file.Name, w.Position.First, text)
	}
	return text
}

// wantedImages are the images of the plans and the named contexts that are images, each once.
func (b *build) wantedImages() []wantedImage {
	var wanted []wantedImage
	known := map[stage.ImageKey]bool{}
	for _, p := range b.plans {
		for _, w := range b.imagesOf(p) {
			if !known[w.key] {
				known[w.key] = true
				wanted = append(wanted, w)
			}
		}
	}
	return wanted
}

func (b *build) imagesOf(p *plan.Plan) []wantedImage {
	var wanted []wantedImage
	for _, i := range p.Images {
		wanted = append(wanted, wantedImage{
			key:      stage.ImageKey{At: effect.Location{Image: i.Ref}, Platform: platforms.Format(i.Platform)},
			platform: i.Platform, instruction: i.Instruction, word: i.Word, hint: i.Hint,
		})
	}
	add := func(at effect.Location, platform ocispec.Platform, in dockerfile.Instruction) {
		if at.Context != "" && isImageContext(b.NamedContexts[at.Context]) {
			wanted = append(wanted, wantedImage{
				key: stage.ImageKey{At: at, Platform: platforms.Format(platform)}, platform: platform, instruction: in, word: at.Context,
			})
		}
	}
	for _, s := range p.Stages {
		add(s.Base, s.Platform, s.Source.From)
		for _, at := range s.Sources {
			add(at, p.Platform, s.Source.From)
		}
	}
	return wanted
}

// triggers are those of base images that a plan does not know yet.
func (b *build) triggers(p *plan.Plan) map[string][]string {
	found := map[string][]string{}
	for _, s := range p.Stages {
		if s.TriggersKnown() {
			continue
		}
		if img, ok := b.sources.images[stage.ImageKey{At: s.Base, Platform: platforms.Format(s.Platform)}]; ok && len(img.Image.Config.OnBuild) > 0 {
			found[s.ID] = img.Image.Config.OnBuild
		}
	}
	return found
}

// startState is what a stage starts from.
func (b *build) startState(s *plan.Stage, lowered loweredStages) lower.State {
	if s.Base.Stage != "" {
		return lowered[s.Base.Stage].State
	}
	if img, ok := b.sources.images[stage.ImageKey{At: s.Base, Platform: platforms.Format(s.Platform)}]; ok {
		return lower.From(&img.Base)
	}
	return lower.From(nil)
}
