package lower

import (
	"path"
	"regexp"
	"slices"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
)

// checkVariables finds variables that nothing gave a value. A declared ARG may have none.
func (l *lowering) checkVariables(x dockerfile.Expansion) {
	for _, name := range x.Unset {
		declared := slices.ContainsFunc(l.args, func(a arg) bool { return a.name == name })
		if !declared && !directsBuilder(name) {
			l.checks.UndefinedVar(name, l.vars.Keys())
		}
	}
}

// checkOnce finds the one before of an instruction of which a stage should have one.
func (l *lowering) checkOnce(c dockerfile.Command, keyword string) {
	if at, ok := l.before[keyword]; ok {
		l.checks.MultipleInstructionsDisallowed(c, at)
	}
	l.before[keyword] = l.in.Position
}

// checkForm recommends the JSON form, unless SHELL says that a shell is meant.
func (l *lowering) checkForm(c dockerfile.Command, line dockerfile.CommandLine) {
	if line.PrependShell && len(l.config.Shell) == 0 {
		l.checks.JSONArgsRecommended(c)
	}
}

// checkWorkdir finds a relative WORKDIR where no other of the file comes before it.
func (l *lowering) checkWorkdir(dir string) {
	if !l.workdirSet && !path.IsAbs(dir) {
		l.checks.WorkdirRelativePath(dir)
	}
	l.workdirSet = true
}

// checkIgnored finds sources that the context's ignore file hides.
func (l *lowering) checkIgnored(s *copySpec) {
	if l.ignored == nil || s.from != (effect.Location{Context: effect.MainContext}) {
		return
	}
	verb := "Copy"
	if s.keyword == "ADD" {
		verb = "Add"
	}
	for _, src := range s.sources {
		if remote(src) != "" {
			continue
		}
		if src = path.Clean(src); l.ignored(src) {
			l.checks.CopyIgnoredFile(verb, src)
		}
	}
}

// checkPair finds a word of ENV or LABEL in the form without "=".
func (l *lowering) checkPair(c dockerfile.Command, kv dockerfile.KeyValue) {
	if kv.NoDelim {
		l.checks.LegacyKeyValueFormat(c)
	}
}

// A name sounds like a secret if one of its words does, and none says otherwise.
var (
	secretName = regexp.MustCompile(`(?i)(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)`)
	publicName = regexp.MustCompile(`(?i)(?:_|^)(?:public|file|version)(?:_|$)`)
)

// checkSecret finds names of ARG and ENV that sound like secrets: what they hold is in the image's history or configuration.
func (l *lowering) checkSecret(keyword, name string) {
	if secretName.MatchString(name) && !publicName.MatchString(name) {
		l.checks.SecretsUsedInArgOrEnv(keyword, name)
	}
}
