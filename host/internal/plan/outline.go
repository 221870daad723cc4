package plan

import (
	"slices"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
)

// Argument is an ARG before the first FROM.
type Argument struct {
	Value       string
	Description string // by the comment above it
	Mentions    []string
	Position    dockerfile.Position
}

// Arguments are those before the first FROM, by name.
func (p *Plan) Arguments() map[string]Argument {
	all := map[string]Argument{}
	args := predeclared(p.File, p.opt)
	lex := p.File.Lexer()
	for _, in := range p.File.Args {
		for _, a := range in.Command.(*dockerfile.Arg).Args {
			x := Argument{Description: a.DocComment, Position: in.Position}
			if v, ok := p.BuildArgs[a.Key]; ok {
				x.Value = v
				args.set(a.Key, v)
			} else if a.Value != nil {
				word, err := lex.Expand(*a.Value, args)
				if err != nil {
					return all // which New would have returned
				}
				x.Value, x.Mentions = word.Value, word.Used
				if i := slices.Index(x.Mentions, a.Key); i >= 0 { // ARG A=${A}x is about the A before
					x.Mentions = append(slices.Delete(x.Mentions, i, i+1), all[a.Key].Mentions...)
				}
				args.set(a.Key, word.Value)
			}
			all[a.Key] = x
		}
	}
	return all
}

// FromMentions are the variables in the FROM of a stage.
func (p *Plan) FromMentions(s *Stage) []string {
	var all []string
	for _, word := range []string{s.Source.BaseName, s.Source.Platform} {
		if x, err := p.File.Lexer().Expand(word, p.Args); err == nil {
			all = append(all, x.Used...)
		}
	}
	return all
}
