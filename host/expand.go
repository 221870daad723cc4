package host

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/lower"
)

// Expand returns the request's Dockerfile with each instruction of a plugin written out in the Dockerfile language, so that
// any builder can build it. Stages that the target does not need are left out. Instructions are run only where a plugin
// reads what they make.
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
	for _, s := range b.plan.Stages {
		e.keep(s.Source)
		for _, step := range lowered[s.ID].Steps {
			if step.Custom != nil {
				e.replace(step.Instruction.Position, step)
			}
		}
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

func (e *expansion) replace(at dockerfile.Position, step lower.Step) {
	var text []string
	for _, line := range strings.Split(step.Source, "\n") {
		text = append(text, "# "+line)
	}
	standard := step.Custom.Standard()
	if len(standard) == 0 {
		text = append(text, fmt.Sprintf("# %s does nothing here.", step.Instruction.Keyword))
	}
	e.replaced[at.First] = replacement{at.Last, append(text, standard...)}
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
