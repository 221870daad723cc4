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
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// loweredStages are the stages of a plan as steps, by ID.
type loweredStages map[string]*lower.Lowered

// wantedImage is an image that has to be opened.
type wantedImage struct {
	key         stage.ImageKey
	platform    ocispec.Platform
	instruction dockerfile.Instruction
	word, hint  string
}

// resolve plans the build for each platform, opens the images that it starts from and lowers the instructions.
func (b *build) resolve(ctx context.Context) (loweredStages, error) {
	if err := b.resolveEpoch(ctx); err != nil {
		return nil, err
	}
	b.form = b.layerForm()
	b.mayRun(ctx)
	if err := b.planAll(ctx); err != nil {
		return nil, err
	}
	lowered := loweredStages{}
	var ignored func(string) bool
	if c, ok := b.sources.contexts[effect.MainContext].(interface{ Hides(source string) bool }); ok { // a directory
		ignored = c.Hides
	}
	for i, p := range b.plans {
		for _, s := range p.Stages {
			l, err := lower.Stage(ctx, p, s, b.startState(s, lowered), lower.Outside{
				Planner: &planner{build: b, plan: p, lowered: lowered}, Ignored: ignored,
			})
			if i == 0 {
				b.warn(l.Warnings...)
			}
			if err != nil {
				return nil, err
			}
			lowered[s.ID] = l
		}
	}
	return lowered, b.file.CheckError(b.found)
}

// planAll makes the plans and opens their images. A base image's ONBUILD triggers can need further images, so this goes on
// until none are left. What build checks find is told for the first platform, as BuildKit does: for the others it is the same.
func (b *build) planAll(ctx context.Context) (err error) {
	b.plans = make([]*plan.Plan, len(b.platforms))
	for i, p := range b.platforms {
		o := b.planOptions(p)
		o.Epoch = plan.Epoch{Known: true}
		if b.Epoch != nil {
			o.Epoch.Value = seconds(*b.Epoch)
		}
		if i == 0 {
			b.warn(plan.Check(b.file, o)...)
		}
		if b.plans[i], err = plan.New(b.file, o); err != nil {
			return err
		}
	}
	if b.planned != nil {
		b.planned()
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
	b.checkPlatforms(b.plans[0])
	b.warn(b.plans[0].Warnings...)
	return nil
}

// planOptions are those of the plan for a platform, but for the time of the images.
func (b *build) planOptions(p ocispec.Platform) plan.Options {
	o := plan.Options{
		Target: b.Target, Also: b.AlsoTargets, BuildArgs: b.BuildArgs, Platform: p, BuildPlatform: platforms.DefaultSpec(),
		Contexts: slices.Sorted(maps.Keys(b.NamedContexts)), Stages: b.stages,
	}
	if b.targets.index {
		o.Scope = platforms.FormatAll(p)
	}
	return o
}

// checkPlatforms finds images that are for another platform than was asked for.
func (b *build) checkPlatforms(p *plan.Plan) {
	check := func(ref string, want ocispec.Platform, in dockerfile.Instruction, word string) {
		img, ok := b.sources.images[stage.ImageKey{At: effect.Location{Image: ref}, Platform: platforms.Format(want)}]
		if !ok || len(img.Image.RootFS.DiffIDs) == 0 {
			return
		}
		if got := img.Image.Platform(); got.OS != want.OS || got.Architecture != want.Architecture {
			if name, err := b.file.Lexer().Word(word, p.Args); err == nil {
				word = name
			}
			b.file.Checks(func(w dockerfile.Warning) { b.warn(w) }).InvalidBaseImagePlatform(in.Position, word,
				platforms.FormatAll(platforms.Normalize(want)), platforms.FormatAll(platforms.Normalize(got)))
		}
	}
	for _, s := range p.Stages {
		check(s.Base.Image, s.Platform, s.Source.From, s.Source.BaseName)
	}
	for _, i := range p.Images {
		if i.Instruction.Keyword != "FROM" {
			check(i.Ref, i.Platform, i.Instruction, i.Word)
		}
	}
}

// warn tells of what was found in the Dockerfile.
func (b *build) warn(found ...dockerfile.Warning) {
	b.found = append(b.found, found...)
	for _, w := range found {
		event := warning(w.Text)
		if w.Rule != "" {
			event.Text = w.Rule + ": " + event.Text
			event.Finding = &progress.Finding{
				Rule: w.Rule, Text: w.Text, Description: w.Description, URL: w.URL,
				File: b.file.Name, First: w.Position.First, Last: w.Position.Last, Line: w.Line, Column: w.Column,
				Excerpt: b.file.Excerpt(w),
			}
		}
		switch {
		case w.Column > 0:
			event.Text = fmt.Sprintf("%s:%d:%d: %s", b.file.Name, w.Line, w.Column, event.Text)
		case w.Line > 0:
			event.Text = fmt.Sprintf("%s:%d: %s", b.file.Name, w.Line, event.Text)
		}
		b.progress().Report(event)
	}
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
