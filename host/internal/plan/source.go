package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
)

// fromFlags are the values of --from of an instruction, and of "from" in its mounts.
func fromFlags(in dockerfile.Instruction) []string {
	switch c := in.Command.(type) {
	case *dockerfile.Copy:
		if c.From != "" {
			return []string{c.From}
		}
	case *dockerfile.Run:
		var out []string
		for _, m := range dockerfile.Mounts(c) {
			if m.From != "" {
				out = append(out, m.From)
			}
		}
		return out
	case *dockerfile.Custom:
		var out []string
		for _, f := range c.Flags {
			if f.Name == "from" && f.Value != "" {
				out = append(out, f.Value)
			}
		}
		return out
	}
	return nil
}

// resolveSources resolves all that the instructions of s copy from.
func (pl *planner) resolveSources(s *Stage) error {
	for _, in := range slices.Concat(s.Triggers, s.Instructions) {
		froms := fromFlags(in)
		if c, ok := in.Command.(*dockerfile.Run); ok && in.Trigger == "" {
			pl.unnamed += len(dockerfile.Mounts(c)) - len(froms)
		}
		for _, from := range froms {
			where, err := pl.source(s, in, from)
			if err != nil {
				return err
			}
			s.Sources[from] = where
			if where.Stage != "" && !slices.Contains(s.Needs, where.Stage) {
				s.Needs = append(s.Needs, where.Stage)
			}
			if where.Stage == "" && in.Trigger == "" {
				pl.unnamed++
			}
		}
	}
	return nil
}

// checkOrder refuses sources that are defined below s. Only what is built is checked, as BuildKit does.
func (pl *planner) checkOrder(s *Stage) error {
	for _, in := range slices.Concat(s.Triggers, s.Instructions) {
		for _, from := range fromFlags(in) {
			id := s.Sources[from].Stage
			if id == "" {
				continue
			}
			if other := pl.byID(id); other.Source.Index > s.Source.Index {
				return pl.file.Fail(in, from,
					fmt.Errorf("--from=%s: the stage is defined below, at line %d", from, other.Source.From.Position.First),
					fmt.Sprintf("move stage %s above this one", other.Name))
			}
		}
	}
	return nil
}

// source is what a --from means: the index of a stage, the name of a stage, a named context, an image.
func (pl *planner) source(s *Stage, in dockerfile.Instruction, from string) (effect.Location, error) {
	fail := func(hint string, err error) (effect.Location, error) {
		return effect.Location{}, pl.file.Fail(in, from, err, hint)
	}
	_, isMount := in.Command.(*dockerfile.Run)
	if expanded, err := pl.file.Lexer().Word(from, &Args{}); err != nil || expanded != from {
		return fail("name a stage FROM the image with the variable, and copy from that stage",
			fmt.Errorf("--from=%s: variables are not expanded in --from", from))
	}
	other, isStage := pl.byName[strings.ToLower(from)]
	if index, err := strconv.Atoi(from); err == nil {
		if isMount {
			return fail("give the stage a name", fmt.Errorf("from=%s: a mount is from a stage by its name, not its index", from))
		}
		if index < 0 || index >= len(pl.stages) {
			return fail(fmt.Sprintf("stages are counted from 0, and this file has %d", len(pl.stages)),
				fmt.Errorf("--from=%s: there is no stage %d", from, index))
		}
		other, isStage = pl.stages[index], true
	}
	if isStage {
		if other == s {
			return fail("name an earlier stage", fmt.Errorf("--from=%s: a stage cannot copy from itself", from))
		}
		return effect.Location{Stage: other.ID}, nil
	}
	if strings.EqualFold(from, Scratch) {
		return fail("", fmt.Errorf("--from=%s: scratch has no files", from))
	}
	if given, ok := pl.context(from); ok {
		return effect.Location{Context: given}, nil
	}
	ref, err := imageRef(from)
	if err != nil {
		return fail(pl.stageHint(from), fmt.Errorf("--from=%s is no stage: %w", from, err))
	}
	return effect.Location{Image: ref}, nil
}
