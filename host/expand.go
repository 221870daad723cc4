package host

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/plan"
)

// Expand returns the request's Dockerfile with each instruction of a plugin written out in the Dockerfile language, so that
// any builder can build it. Stages that the target does not need are left out, but for an empty one in the place of each
// where one that is kept is copied from by its number. Instructions are run only where a plugin reads what they make. What
// has no form in that language is an error.
func Expand(ctx context.Context, r Request) (text string, err error) {
	err = withoutDamaged(ctx, &r, func(damaged map[string]bool) error {
		text, err = expandOnce(ctx, r, damaged)
		return err
	})
	return text, err
}

func expandOnce(ctx context.Context, r Request, damaged map[string]bool) (_ string, err error) {
	b := &build{Request: r, created: r.created()}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.prepare(damaged); err != nil {
		return "", err
	}
	if len(b.platforms) > 1 {
		return "", &RequestError{errors.New("a Dockerfile is written out for a single platform: name one")}
	}
	if err := b.parse(ctx); err != nil {
		return "", err
	}
	lowered, err := b.resolve(ctx)
	if err != nil {
		return "", err
	}
	e := expansion{file: b.file, replaced: map[int]replacement{}, dropped: map[int]bool{}}
	for _, s := range b.file.Stages {
		e.drop(s)
	}
	p := b.plans[0]
	for _, s := range p.Stages {
		e.keep(s.Source)
		for _, step := range lowered[s.ID].Steps {
			if step.Custom == nil {
				continue
			}
			if err := e.replace(step); err != nil {
				return "", err
			}
		}
	}
	if countsStages(p) {
		e.holdPlaces(p.Target().Source)
	}
	return e.text(), nil
}

// expansion is a Dockerfile with lines replaced.
type expansion struct {
	file     *dockerfile.File
	replaced map[int]replacement // by first line
	dropped  map[int]bool        // lines
}

type replacement struct {
	last int
	text []string
}

func linesOf(s *dockerfile.Stage, visit func(line int)) {
	mark := func(p dockerfile.Position) {
		for i := p.First; i <= p.Last; i++ {
			visit(i)
		}
	}
	mark(s.From.Position)
	for _, in := range s.Instructions {
		mark(in.Position)
	}
}

func (e *expansion) drop(s *dockerfile.Stage) { linesOf(s, func(i int) { e.dropped[i] = true }) }

func (e *expansion) keep(s *dockerfile.Stage) { linesOf(s, func(i int) { delete(e.dropped, i) }) }

// countsStages says whether a stage that is kept copies from one by its number.
func countsStages(p *plan.Plan) bool {
	for _, s := range p.Stages {
		for from, where := range s.Sources {
			if _, err := strconv.Atoi(from); err == nil && where.Stage != "" {
				return true
			}
		}
	}
	return false
}

// holdPlaces puts an empty stage where one above the target was dropped, so that the numbers of the others stay.
func (e *expansion) holdPlaces(target *dockerfile.Stage) {
	for _, s := range e.file.Stages[:target.Index] {
		if at := s.From.Position; e.dropped[at.First] {
			line := "FROM " + plan.Scratch
			if s.Name != "" {
				line += " AS " + s.Name
			}
			e.replaced[at.First] = replacement{at.Last, []string{line}}
		}
	}
}

func (e *expansion) replace(step lower.Step) error {
	var text []string
	for _, line := range strings.Split(step.Source, "\n") {
		text = append(text, "# "+line)
	}
	standard, err := step.Custom.Standard(e.file.Escape)
	if err != nil {
		return e.file.Fail(step.Instruction, "", err, "only a build with the plugin can do it")
	}
	if len(standard) == 0 {
		text = append(text, fmt.Sprintf("# %s does nothing here.", step.Instruction.Keyword))
	}
	at := step.Instruction.Position
	e.replaced[at.First] = replacement{at.Last, append(text, standard...)}
	return nil
}

func (e *expansion) text() string {
	var out strings.Builder
	lines := e.file.Lines()
	for i := 1; i <= len(lines); i++ {
		if r, ok := e.replaced[i]; ok {
			out.WriteString(strings.Join(r.text, "\n") + "\n")
			i = r.last
			continue
		}
		if !e.dropped[i] {
			out.WriteString(lines[i-1] + "\n")
		}
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}
