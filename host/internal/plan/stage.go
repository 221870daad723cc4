package plan

import (
	"fmt"
	"slices"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
)

// addStage resolves the FROM of the next stage of the file. The order is that of BuildKit: a named context that has the
// stage's own name, scratch, an earlier stage, a named context, an image.
func (pl *planner) addStage(source *dockerfile.Stage) error {
	s := &Stage{
		Source: source, Instructions: source.Instructions, Platform: pl.opt.Platform, Sources: map[string]effect.Location{},
	}
	if s.Name = source.Name; s.Name == "" {
		s.Name = fmt.Sprintf("stage-%d", source.Index)
	}
	if s.ID = s.Name; pl.opt.Scope != "" {
		s.ID = pl.opt.Scope + " " + s.Name
	}
	if slices.ContainsFunc(pl.stages, func(other *Stage) bool { return other.ID == s.ID }) {
		s.ID = fmt.Sprintf("%s#%d", s.ID, source.Index) // no stage can have a name with "#"
	}
	name, err := pl.baseName(s)
	if err != nil {
		return err
	}
	if err := pl.platform(s); err != nil {
		return err
	}
	if err := pl.resolveBase(s, name); err != nil {
		return err
	}
	pl.stages = append(pl.stages, s)
	if source.Name != "" {
		pl.byName[source.Name] = s
	}
	return nil
}

func (pl *planner) resolveBase(s *Stage, name string) error {
	if s.Source.Name != "" {
		if given, ok := pl.context(s.Source.Name); ok {
			s.Base, s.Replaced, s.Instructions = effect.Location{Context: given}, true, nil
			return nil
		}
	}
	// A stage may even be called "scratch": BuildKit only warns, and then takes the stage.
	if base, ok := pl.byName[name]; ok {
		s.Base = effect.Location{Stage: base.ID}
		s.Needs = []string{base.ID}
		s.Platform = base.Platform
		return nil
	}
	if name == Scratch {
		return nil
	}
	if given, ok := pl.context(name); ok {
		s.Base = effect.Location{Context: given}
		return nil
	}
	ref, err := imageRef(name)
	if err != nil {
		return pl.file.Fail(s.Source.From, s.Source.BaseName, err, pl.stageHint(name))
	}
	s.Base = effect.Location{Image: ref}
	return nil
}

// baseName expands what FROM names.
func (pl *planner) baseName(s *Stage) (string, error) {
	written := s.Source.BaseName
	x, err := pl.file.Lexer().Expand(written, pl.args)
	name, unset := x.Value, x.Unset
	if err != nil {
		return "", pl.file.Fail(s.Source.From, written, err, "")
	}
	if name == "" {
		return "", pl.file.Fail(s.Source.From, written, fmt.Errorf("the base %q is empty", written), pl.unsetHint(unset))
	}
	if len(unset) > 0 {
		if _, err := imageRef(name); err != nil {
			return "", pl.file.Fail(s.Source.From, written, fmt.Errorf("the base %q is %q: %w", written, name, err), pl.unsetHint(unset))
		}
	}
	return name, nil
}

// platform expands --platform.
func (pl *planner) platform(s *Stage) error {
	written := s.Source.Platform
	if written == "" {
		return nil
	}
	x, err := pl.file.Lexer().Expand(written, pl.args)
	value, unset := x.Value, x.Unset
	if err != nil {
		return pl.file.Fail(s.Source.From, written, err, "")
	}
	if value == "" {
		return pl.file.Fail(s.Source.From, written, fmt.Errorf("the platform %q is empty", written), pl.unsetHint(unset))
	}
	p, err := platforms.Parse(value)
	if err != nil {
		return pl.file.Fail(s.Source.From, written, fmt.Errorf("platform %q: %w", value, err), "write it as in linux/amd64")
	}
	if p.OS != "linux" {
		return pl.file.Fail(s.Source.From, written, fmt.Errorf("platform %q is not supported: only Linux images can be built", value), "")
	}
	s.Platform = p
	return nil
}

// unsetHint says what may be wrong with variables that FROM mentions and that have no value.
func (pl *planner) unsetHint(unset []string) string {
	if len(unset) > 0 {
		name := unset[0]
		if match := dockerfile.Nearest(name, pl.args.Keys()); match != "" {
			return "did you mean " + match + "?"
		}
		for _, s := range pl.file.Stages {
			if declares(s.Instructions, name) {
				return fmt.Sprintf("FROM sees only what is declared before the first FROM: put ARG %s there", name)
			}
		}
		if declares(pl.file.Args, name) {
			return fmt.Sprintf("give it a default, or a value by --build-arg %s=…", name)
		}
		return fmt.Sprintf("declare it before the first FROM: ARG %s=…", name)
	}
	return ""
}

func declares(list []dockerfile.Instruction, name string) bool {
	for _, in := range list {
		if c, ok := in.Command.(*dockerfile.Arg); ok {
			for _, arg := range c.Args {
				if arg.Key == name {
					return true
				}
			}
		}
	}
	return false
}

// imageRef is an image reference in full, with the tag "latest" if it has none.
func imageRef(name string) (string, error) {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("image %q: %w", name, err)
	}
	return reference.TagNameOnly(ref).String(), nil
}

// stageHint names the stage that a word may have been meant to be.
func (pl *planner) stageHint(word string) string {
	var names []string
	for _, s := range pl.file.Stages {
		if s.Name != "" {
			names = append(names, s.Name)
		}
	}
	if match := dockerfile.Nearest(word, names); match != "" {
		return fmt.Sprintf("did you mean the stage %s?", match)
	}
	return ""
}

// addImages lists the images that a stage needs.
func (pl *planner) addImages(s *Stage) {
	if ref := s.Base.Image; ref != "" {
		pl.addImage(ref, s.Platform, s.Source.From, s.Source.BaseName)
	}
	for _, in := range slices.Concat(s.Triggers, s.Instructions) {
		for _, from := range fromFlags(in) {
			// Other than a base, these are always for the target's platform.
			if ref := s.Sources[from].Image; ref != "" {
				pl.addImage(ref, pl.opt.Platform, in, from)
			}
		}
	}
}

func (pl *planner) addImage(ref string, p ocispec.Platform, in dockerfile.Instruction, word string) {
	for _, i := range pl.images {
		if i.Ref == ref && platforms.FormatAll(i.Platform) == platforms.FormatAll(p) {
			return
		}
	}
	pl.images = append(pl.images, Image{Ref: ref, Platform: p, Instruction: in, Word: word, Hint: pl.stageHint(word)})
}

// addTriggers finds the ONBUILD triggers that the FROM of s sets off: those of the stage it is based on, or those of the
// image, which the caller knows once it has it.
func (pl *planner) addTriggers(s *Stage, ofImages map[string][]string) error {
	if s.Replaced {
		s.triggersKnown = true
		return nil
	}
	texts, known := ofImages[s.ID]
	s.triggersKnown = known || s.Base.Image == "" && s.Base.Context == ""
	if s.Base.Stage != "" {
		texts = nil
		for _, in := range pl.byID(s.Base.Stage).Instructions {
			if c, ok := in.Command.(*dockerfile.Onbuild); ok {
				texts = append(texts, c.Expression)
			}
		}
	}
	for _, text := range texts {
		in, err := pl.file.Trigger(text, s.Source)
		if err != nil {
			return err
		}
		s.Triggers = append(s.Triggers, in)
	}
	return nil
}
