package lower

import (
	"errors"
	"fmt"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/plan"
)

// epochHint says what a stage is that can date an image.
const epochHint = "FROM scratch, any ARG, and one ADD of one URL or git repository"

// EpochSource is what dates an image where SOURCE_DATE_EPOCH is the name of a stage, and the ADD that names it. As in
// BuildKit such a stage holds nothing else, and sees all global arguments without declaring them.
func EpochSource(file *dockerfile.File, s *dockerfile.Stage, given map[string]string, global *plan.Args) (dockerfile.Instruction, effect.Location, error) {
	l := &lowering{
		out: &Lowered{Outline: Outline{Args: map[string]Parameter{}}}, plan: &plan.Plan{BuildArgs: given, Args: global},
		file: file, lex: file.Lexer(), in: s.From,
	}
	for _, name := range global.Keys() {
		if value, _ := global.Get(name); name != plan.EpochArg {
			l.vars.set(name, value)
		}
	}
	source, err := l.epochSource(s)
	if err != nil {
		err = file.Fail(l.in, "", err, epochHint)
	}
	return l.in, source, err
}

func (l *lowering) epochSource(s *dockerfile.Stage) (at effect.Location, err error) {
	l.checks = l.file.Checks(func(dockerfile.Warning) {}).At(l.in) // who builds the stage is told
	base, err := l.word(s.BaseName)
	if err != nil {
		return at, err
	}
	if base != plan.Scratch {
		return at, fmt.Errorf("%s is the stage %q, which is not FROM scratch", plan.EpochArg, s.Name)
	}
	var add dockerfile.Instruction
	for _, l.in = range s.Instructions {
		switch c := l.in.Command.(type) {
		case *dockerfile.Arg:
			err = l.arg(c, &Step{})
		case *dockerfile.Add:
			if add.Command != nil {
				return at, fmt.Errorf("%s is the stage %q, which has a second ADD", plan.EpochArg, s.Name)
			}
			add = l.in
			at, err = l.addedFrom(c)
		default:
			err = fmt.Errorf("%s is the stage %q, which has a %s", plan.EpochArg, s.Name, l.in.Keyword)
		}
		if err != nil {
			return at, err
		}
	}
	if add.Command == nil {
		l.in = s.From
		return at, fmt.Errorf("%s is the stage %q, which adds nothing", plan.EpochArg, s.Name)
	}
	l.in = add
	return at, nil
}

// addedFrom is where the one source of an ADD is.
func (l *lowering) addedFrom(c *dockerfile.Add) (effect.Location, error) {
	s := copySpec{keyword: "ADD"}
	if err := l.expandCopy(&s, c.SourcesAndDest, "", ""); err != nil {
		return effect.Location{}, err
	}
	if err := l.remotes(c, &s); err != nil {
		return effect.Location{}, err
	}
	if len(s.sources)+len(s.inline) != 1 || len(s.remotes) != 1 {
		return effect.Location{}, errors.New("the ADD of a stage that is " + plan.EpochArg + " has one source, a URL or git repository")
	}
	return s.remotes[s.sources[0]].From, nil
}
