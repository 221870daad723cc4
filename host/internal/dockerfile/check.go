package dockerfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"
)

// Warning is the finding of a build check.
type Warning struct {
	Rule        string // BuildKit's name of the rule, such as "StageNameCasing"; empty if it is none of BuildKit's
	Text        string
	Description string // what the rule is for
	URL         string // of its documentation
	Position    Position
	// Line and Column are those of the word in question, counted from 1: the column in characters, and 0 if the finding
	// is about no word. All are 0 if it is about no line.
	Line, Column int
}

// Checks are BuildKit's build checks for one place of a file: its "# check=" directive sets them, and so do comments
// above an instruction. A nil Checks finds nothing.
type Checks struct {
	lint *linter.Linter
	at   Position
}

// Checks are the checks for what is found after parsing.
func (f *File) Checks(found func(Warning)) *Checks {
	config := f.checks
	config.Warn = func(rule, description, url, text string, where []parser.Range) {
		w := Warning{Rule: rule, Text: text, Description: description, URL: url, Position: position(where)}
		w.Line = w.Position.First
		if line, column, ok := f.findQuoted(w.Position, text); ok {
			w.Line, w.Column = line, column
		}
		found(w)
	}
	return &Checks{lint: linter.New(&config)}
}

// At are the checks for an instruction.
func (c *Checks) At(in Instruction) *Checks {
	if c == nil {
		return nil
	}
	return &Checks{lint: c.lint.WithMergedConfigFromComments(in.Comments), at: in.Position}
}

// on are the checks with the file's settings, for findings at p.
func (c *Checks) on(p Position) *Checks { return &Checks{lint: c.lint, at: p} }

func (c *Checks) run(rule linter.LinterRuleI, text string) {
	if c != nil {
		c.lint.Run(rule, c.at.ranges(), text)
	}
}

// ranges are the lines as BuildKit has them: each is a range of its own.
func (p Position) ranges() []parser.Range {
	var all []parser.Range
	for n := p.First; n <= p.Last; n++ {
		all = append(all, parser.Range{Start: parser.Position{Line: n}, End: parser.Position{Line: n}})
	}
	return all
}

// UndefinedArgInFrom finds the variables of a FROM that nothing declares.
func (c *Checks) UndefinedArgInFrom(undefined, declared []string) {
	for _, name := range undefined {
		if !slices.Contains(declared, name) {
			near, _ := suggest.Search(name, declared, true)
			c.run(&linter.RuleUndefinedArgInFrom, linter.RuleUndefinedArgInFrom.Format(name, near))
		}
	}
}

// InvalidDefaultArgInFrom finds a base at p that is no image once each argument has its default.
func (c *Checks) InvalidDefaultArgInFrom(p Position, base string) {
	c.on(p).run(&linter.RuleInvalidDefaultArgInFrom, linter.RuleInvalidDefaultArgInFrom.Format(base))
}

// RedundantTargetPlatform finds a --platform that is the default.
func (c *Checks) RedundantTargetPlatform(written string) {
	c.run(&linter.RuleRedundantTargetPlatform, linter.RuleRedundantTargetPlatform.Format(written))
}

// FromPlatformFlagConstDisallowed finds a --platform without variables.
func (c *Checks) FromPlatformFlagConstDisallowed(platform string) {
	c.run(&linter.RuleFromPlatformFlagConstDisallowed, linter.RuleFromPlatformFlagConstDisallowed.Format(platform))
}

// InvalidBaseImagePlatform finds a base at p that is for another platform.
func (c *Checks) InvalidBaseImagePlatform(p Position, image, want, got string) {
	c.on(p).run(&linter.RuleInvalidBaseImagePlatform, linter.RuleInvalidBaseImagePlatform.Format(image, want, got))
}

// UndefinedVar finds a variable without a value. The names are those that have one.
func (c *Checks) UndefinedVar(name string, names []string) {
	near, _ := suggest.Search(name, names, true)
	c.run(&linter.RuleUndefinedVar, linter.RuleUndefinedVar.Format(name, near))
}

// LegacyKeyValueFormat finds ENV and LABEL without "=".
func (c *Checks) LegacyKeyValueFormat(in Command) {
	c.run(&linter.RuleLegacyKeyValueFormat, linter.RuleLegacyKeyValueFormat.Format(in.Name()))
}

// SecretsUsedInArgOrEnv finds a name of ARG or ENV that sounds like a secret.
func (c *Checks) SecretsUsedInArgOrEnv(keyword, name string) {
	c.run(&linter.RuleSecretsUsedInArgOrEnv, linter.RuleSecretsUsedInArgOrEnv.Format(keyword, name))
}

// WorkdirRelativePath finds a WORKDIR that depends on the base.
func (c *Checks) WorkdirRelativePath(dir string) {
	c.run(&linter.RuleWorkdirRelativePath, linter.RuleWorkdirRelativePath.Format(dir))
}

// JSONArgsRecommended finds CMD and ENTRYPOINT in the shell form.
func (c *Checks) JSONArgsRecommended(in Command) {
	c.run(&linter.RuleJSONArgsRecommended, linter.RuleJSONArgsRecommended.Format(in.Name()))
}

// MultipleInstructionsDisallowed finds an instruction that makes the one at before useless.
func (c *Checks) MultipleInstructionsDisallowed(in Command, before Position) {
	if c != nil {
		c.on(before).run(&linter.RuleMultipleInstructionsDisallowed, linter.RuleMultipleInstructionsDisallowed.Format(in.Name()))
	}
}

// CopyIgnoredFile finds a source that the context's ignore file hides. The verb is "Copy" or "Add".
func (c *Checks) CopyIgnoredFile(verb, source string) {
	c.run(&linter.RuleCopyIgnoredFile, linter.RuleCopyIgnoredFile.Format(verb, source))
}

// ExposeProtoCasing finds a protocol with capitals.
func (c *Checks) ExposeProtoCasing(port string) {
	c.run(&linter.RuleExposeProtoCasing, linter.RuleExposeProtoCasing.Format(port))
}

// ExposeInvalidFormat finds an address or a port of the host in EXPOSE.
func (c *Checks) ExposeInvalidFormat(port string) {
	c.run(&linter.RuleExposeInvalidFormat, linter.RuleExposeInvalidFormat.Format(port))
}

// stageNames finds names of stages that are taken or reserved.
func (c *Checks) stageNames(stages []instructions.Stage) {
	seen := map[string]bool{}
	for _, s := range stages {
		at := c.on(position(s.Location))
		if s.Name == "context" || s.Name == "scratch" {
			at.run(&linter.RuleReservedStageName, linter.RuleReservedStageName.Format(s.Name))
		}
		if s.Name != "" && seen[s.Name] {
			at.run(&linter.RuleDuplicateStageName, linter.RuleDuplicateStageName.Format(s.Name))
		}
		seen[s.Name] = true
	}
}

// casing finds keywords in another letter case than most of the file's.
func (c *Checks) casing(stages []instructions.Stage, custom *customs) {
	type keyword struct {
		text string
		at   Position
	}
	var all []keyword
	for _, s := range stages {
		all = append(all, keyword{s.OrigCmd, position(s.Location)})
		for _, in := range s.Commands {
			in = custom.restore(in)
			all = append(all, keyword{in.Name(), position(in.Location())})
		}
	}
	lower, upper := 0, 0
	for _, k := range all {
		switch k.text {
		case strings.ToLower(k.text):
			lower++
		case strings.ToUpper(k.text):
			upper++
		}
	}
	want, name := strings.ToUpper, "uppercase"
	if lower > upper {
		want, name = strings.ToLower, "lowercase"
	}
	for _, k := range all {
		if want(k.text) != k.text {
			c.on(k.at).run(&linter.RuleConsistentInstructionCasing, linter.RuleConsistentInstructionCasing.Format(k.text, name))
		}
	}
}

// CheckError is the error that "check=error=true" makes of findings; nil without that, or without any of a build check.
func (f *File) CheckError(found []Warning) error {
	var rules []string
	var first *Warning
	for i, w := range found {
		if w.Rule != "" {
			rules = append(rules, w.Rule)
			if first == nil {
				first = &found[i]
			}
		}
	}
	if first == nil || !f.checks.ReturnAsError {
		return nil
	}
	slices.Sort(rules)
	e := f.failAt(first.Position, "", fmt.Errorf("build checks found violations of %s", strings.Join(slices.Compact(rules), ", ")),
		"check=error=true makes what build checks find fail the build")
	e.Line, e.Column = first.Line, first.Column
	return e
}

// Excerpt is the source of a finding, as [Error.Excerpt] is that of an error.
func (f *File) Excerpt(w Warning) string {
	return (&Error{Line: w.Line, Column: w.Column, Position: w.Position, Source: f.Source(w.Position)}).Excerpt()
}
