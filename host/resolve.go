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

// resolve plans the build, opens the images that it starts from and lowers the instructions. A base image's ONBUILD
// triggers can need further images, so this goes on until none are left.
func (b *build) resolve(ctx context.Context) (loweredStages, error) {
	var err error
	b.plan, err = plan.New(b.file, plan.Options{
		Target: b.Target, BuildArgs: b.BuildArgs, Platform: b.platform, BuildPlatform: platforms.DefaultSpec(),
		Contexts: slices.Sorted(maps.Keys(b.NamedContexts)),
	})
	if err != nil {
		return nil, err
	}
	for {
		if err := b.openImages(ctx, b.wantedImages()); err != nil {
			return nil, err
		}
		triggers := b.triggers()
		if len(triggers) == 0 {
			break
		}
		if b.plan, err = b.plan.WithTriggers(triggers); err != nil {
			return nil, err
		}
	}
	for _, w := range b.plan.Warnings {
		b.warn(w)
	}
	lowered := loweredStages{}
	for _, s := range b.plan.Stages {
		l, err := lower.Stage(ctx, b.plan, s, b.startState(s, lowered), &planner{build: b, lowered: lowered})
		if err != nil {
			return nil, err
		}
		for _, w := range l.Warnings {
			b.warn(w)
		}
		lowered[s.ID] = l
	}
	return lowered, nil
}

func (b *build) warn(w dockerfile.Warning) {
	text := w.Text
	if w.Rule != "" {
		text = w.Rule + ": " + text
	}
	if w.Position.First > 0 {
		text = fmt.Sprintf("%s:%d: %s", b.file.Name, w.Position.First, text)
	}
	b.progress().Report(warning(text))
}

// wantedImages are the images of the plan and the named contexts that are images.
func (b *build) wantedImages() []wantedImage {
	var wanted []wantedImage
	for _, i := range b.plan.Images {
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
	for _, s := range b.plan.Stages {
		add(s.Base, s.Platform, s.Source.From)
		for _, at := range s.Sources {
			add(at, b.plan.Platform, s.Source.From)
		}
	}
	return wanted
}

// triggers are those of base images that the plan does not know yet.
func (b *build) triggers() map[string][]string {
	found := map[string][]string{}
	for _, s := range b.plan.Stages {
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
