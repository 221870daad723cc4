package dockerfile

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/trowel-build/trowel/sdk"
)

// Options are how a Dockerfile is to be read.
type Options struct {
	// Instructions are those that plugins give.
	Instructions []sdk.Instruction
	// Checks sets the build checks in place of the file's "# check=" directive; nil leaves that.
	Checks *string
}

// Parse reads the text of a Dockerfile. Errors are of type [*Error], but for those about the options; name is the file's
// name in them. With an error there is a File that has no stages if build checks found anything before.
func Parse(name string, text []byte, opt Options) (*File, error) {
	known, err := knownInstructions(opt.Instructions)
	if err != nil {
		return nil, err
	}
	f := &File{Name: name, Escape: '\\', custom: known}
	if err := f.checkText(text); err != nil {
		return nil, err
	}
	if err := f.directives(text); err != nil {
		return nil, err
	}
	if opt.Checks != nil {
		config, err := linter.ParseLintOptions(*opt.Checks)
		if err != nil {
			return nil, fmt.Errorf("build argument BUILDKIT_DOCKERFILE_CHECK: %w", err)
		}
		f.checks = *config
	}
	checks := f.Checks(func(w Warning) { f.Warnings = append(f.Warnings, w) })

	custom := customs{file: f, known: known}
	source, marked, err := custom.markLines(text)
	if err != nil {
		return nil, err
	}
	tree, err := parser.Parse(strings.NewReader(source))
	if err != nil {
		return nil, f.translate(err)
	}
	nodes := tree.AST.Children
	for _, w := range tree.Warnings {
		// The parser's only warning; its location is the last line of the instruction.
		checks.lint.Run(&linter.RuleNoEmptyContinuation, []parser.Range{*w.Location}, linter.RuleNoEmptyContinuation.Format())
	}
	f.Escape = tree.EscapeToken
	if len(nodes) > maxInstructions {
		line := nodes[maxInstructions].StartLine
		return nil, f.failAt(Position{line, line}, "",
			fmt.Errorf("the file has %d instructions: more than %d are not supported", len(nodes), maxInstructions), "")
	}
	if err := custom.take(nodes, marked); err != nil {
		return f, err
	}
	right, ownErr := f.checkNodes(nodes)
	// BuildKit checks an instruction before it says what is wrong with it, and those above it in any case.
	tree.AST.Children = nodes[:min(right+1, len(nodes))]
	stages, args, err := instructions.Parse(tree.AST, checks.lint)
	if ownErr != nil {
		return f, ownErr
	}
	if err != nil {
		return f, f.translate(err)
	}
	checks.stageNames(stages)
	checks.casing(stages, &custom)
	f.fill(stages, args, &custom)
	return f, nil
}

// checkNodes finds the first error that is ours to tell, and says how many instructions are right.
func (f *File) checkNodes(nodes []*parser.Node) (right int, err error) {
	for i, node := range nodes {
		if err := f.checkNode(node); err != nil {
			return i, err
		}
	}
	return len(nodes), f.checkOrder(nodes)
}

// fill takes over what BuildKit parsed.
func (f *File) fill(stages []instructions.Stage, args []instructions.ArgCommand, custom *customs) {
	for i := range args {
		f.Args = append(f.Args, newInstruction(&args[i]))
	}
	for i := range stages {
		s := &stages[i]
		stage := &Stage{
			Index: i, Name: s.Name, BaseName: s.BaseName, Platform: s.Platform, Comment: s.DocComment,
			From: Instruction{Keyword: "FROM", Position: position(s.Location), Comments: s.Comments},
		}
		for _, c := range s.Commands {
			stage.Instructions = append(stage.Instructions, newInstruction(custom.restore(c)))
		}
		f.Stages = append(f.Stages, stage)
	}
}

func newInstruction(c Command) Instruction {
	return Instruction{Command: c, Keyword: strings.ToUpper(c.Name()), Position: position(c.Location()), Comments: c.Comments()}
}

// Trigger parses an ONBUILD trigger, set off by the FROM of stage. Errors point at that FROM.
func (f *File) Trigger(text string, stage *Stage) (Instruction, error) {
	in := Instruction{Keyword: "FROM", Position: stage.From.Position, Trigger: text}
	fail := func(err error) (Instruction, error) {
		return Instruction{}, f.Fail(in, stage.BaseName, err, "")
	}
	if strings.TrimSpace(text) == "" {
		return fail(errors.New("an ONBUILD trigger of the base is empty"))
	}
	c, err := f.trigger(text)
	if err != nil {
		return fail(err)
	}
	in.Command, in.Keyword = c, strings.ToUpper(c.Name())
	return in, nil
}

// CheckTrigger says what is wrong with the text of an ONBUILD trigger that an instruction is about to set.
func (f *File) CheckTrigger(text string) error {
	if _, custom := f.custom[strings.ToUpper(firstWord(strings.ReplaceAll(text, "\t", " ")))]; custom {
		return errTrigger
	}
	if strings.TrimSpace(text) == "" {
		return errors.New("it is empty")
	}
	_, err := f.trigger(text)
	return err
}

// trigger parses a trigger as if it were a file of its own.
func (f *File) trigger(text string) (Command, error) {
	if strings.ContainsRune(text, 0) {
		return nil, errors.New("there is a NUL byte in it")
	}
	tree, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, cause(err)
	}
	if len(tree.AST.Children) != 1 {
		return nil, fmt.Errorf("it has %d instructions: there must be one", len(tree.AST.Children))
	}
	node := tree.AST.Children[0]
	// The flags and the keyword are checked as in a file, in the words of a file that has the trigger alone.
	alone := &File{Name: f.Name, lines: splitLines([]byte(text))}
	if err := alone.checkNode(node); err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			return nil, e.Err
		}
		return nil, err
	}
	c, err := instructions.ParseCommand(node)
	if err != nil {
		return nil, cause(err)
	}
	if keyword := strings.ToUpper(c.Name()); keyword == "ONBUILD" || keyword == "MAINTAINER" {
		return nil, fmt.Errorf("%s cannot be a trigger", keyword)
	}
	return c, nil
}

// quoted are the words that BuildKit's messages quote.
var quoted = regexp.MustCompile(`"([^"]+)"|'([^']+)'`)

// translate makes an [*Error] of an error of BuildKit's parser. The column is that of the first word that the message
// quotes and the source has.
func (f *File) translate(err error) *Error {
	p := Position{1, 1}
	if located, ok := errors.AsType[*parser.LocationError](err); ok && len(located.Locations) > 0 {
		p = position(located.Locations[0])
	}
	p.First, p.Last = f.clamp(p.First), f.clamp(p.Last)
	err = cause(err)
	e := f.failAt(p, "", err, "")
	keyword := firstWord(f.lines[p.First-1])
	if _, ok := command.Commands[strings.ToLower(keyword)]; ok {
		e.Instruction = strings.ToUpper(keyword)
	}
	if line, column, ok := f.findQuoted(p, err.Error()); ok {
		e.Line, e.Column = line, column
		return e
	}
	if strings.Contains(err.Error(), "heredoc") {
		if line, column, ok := f.find(Position{p.First, p.First}, "<<"); ok {
			e.Line, e.Column = line, column
			e.Hint = "a heredoc ends at a line that has its word alone, without blanks around it"
		}
	}
	return e
}

// findQuoted is where the first word that a message of BuildKit quotes, and the source has, stands in the lines at p.
func (f *File) findQuoted(p Position, message string) (line, column int, ok bool) {
	for _, match := range quoted.FindAllStringSubmatch(message, -1) {
		if line, column, ok := f.find(p, match[1]+match[2]); ok {
			return line, column, true
		}
	}
	return 0, 0, false
}

// cause is an error of BuildKit without the line numbers it was wrapped in: those are told otherwise.
func cause(err error) error {
	if located, ok := errors.AsType[*parser.LocationError](err); ok {
		return located.Unwrap()
	}
	return err
}

func firstWord(line string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	return word
}

// position is the range from the first to the last of BuildKit's.
func position(where []parser.Range) Position {
	if len(where) == 0 {
		return Position{1, 1}
	}
	return Position{First: where[0].Start.Line, Last: where[len(where)-1].End.Line}
}
