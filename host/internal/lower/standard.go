package lower

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/sdk"
)

// Standard is a use of a plugin's instruction in the words of the Dockerfile language, a line or several for each effect:
// what the plugin does can be had without it. The files are the same, if in more layers. The file's escape character is that
// of the Dockerfile that the lines are for. What a line cannot hold is an error.
//
// Two things differ. Effects on files that COPY does not have take a /bin/sh with mkdir, chmod, chown, rm and ln in the image.
// And where no USER or WORKDIR is set, lines that need one are followed by "USER root" and "WORKDIR /": there is no way back to
// none, so that the image's configuration then has the user "root" and the directory "/", which are the same.
func (c *Custom) Standard(escape rune) ([]string, error) {
	s := standard{call: c.Call, escape: string(escape)}
	for i, x := range c.Plan.Effects {
		s.effect(x)
		if s.err != nil {
			return nil, fmt.Errorf("effect %d of the plugin cannot be written in a Dockerfile: %w", i+1, s.err)
		}
	}
	return s.out, nil
}

// standard are lines of a Dockerfile in the making.
type standard struct {
	call   sdk.Call // with the user and the directory as the lines so far leave them
	escape string
	out    []string
	err    error // the first
}

// longestLine is BuildKit's limit.
const longestLine = 65535

// add appends instructions.
func (s *standard) add(lines ...string) {
	for _, text := range lines {
		for line := range strings.SplitSeq(text, "\n") {
			if len(line) > longestLine {
				s.refuse("it takes a line of %d bytes: more than %d are not supported", len(line), longestLine)
			}
		}
	}
	s.out = append(s.out, lines...)
}

func (s *standard) refuse(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

// utf8 refuses what is no text: JSON cannot hold it, and BuildKit's parser changes it.
func (s *standard) utf8(words ...string) {
	for _, w := range words {
		if !utf8.ValidString(w) {
			s.refuse("%q is not UTF-8", w)
		}
	}
}

// word is a word of an instruction in which nothing is expanded. What says what it is.
func (s *standard) word(what, value string) string {
	s.utf8(value)
	if strings.Contains(value, "\n") {
		s.refuse("%s is %q, which has a line break", what, value)
	}
	return quoted(value)
}

// flag is a flag as the parser takes it, for which the escape character has its meaning in any quotes. The value that it
// gets is the one given, character for character.
func (s *standard) flag(name, value string) string {
	s.word("--"+name, value)
	if strings.ContainsFunc(value, func(r rune) bool { return r >= utf8.RuneSelf }) {
		s.refuse("--%s is %q: BuildKit takes ASCII alone in flags", name, value)
	}
	return "--" + name + "='" + strings.NewReplacer(s.escape, s.escape+s.escape, "'", s.escape+"'").Replace(value) + "'"
}

// expandedFlag is a [standard.flag] whose value is expanded after that.
func (s *standard) expandedFlag(name, value string) string {
	if strings.ContainsAny(value, "$'\""+s.escape) {
		value = quoted(value)
	}
	return s.flag(name, value)
}

// list is a JSON list, as RUN and others take it.
func (s *standard) list(words ...string) string {
	s.utf8(words...)
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(words); err != nil {
		panic("lower: a list of strings has no JSON form: " + err.Error())
	}
	return strings.TrimSuffix(strings.ReplaceAll(b.String(), `","`, `", "`), "\n")
}

// escaped is a list in which nothing is expanded, for the instructions that expand words of JSON lists too.
func (s *standard) escaped(words ...string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strings.NewReplacer(s.escape, s.escape+s.escape, `$`, s.escape+`$`, `"`, s.escape+`"`, `'`, s.escape+`'`).Replace(w)
	}
	s.utf8(words...)
	return s.list(out...)
}

// effect writes one effect.
func (s *standard) effect(x sdk.Effect) {
	switch {
	case x.Exec != nil:
		s.exec(*x.Exec)
	case x.Copy != nil:
		s.copy(*x.Copy)
	case x.Write != nil:
		s.write(*x.Write)
	case x.Mkdir != nil:
		s.mkdir(*x.Mkdir)
	case x.Symlink != nil:
		s.symlink(*x.Symlink)
	case x.Remove != nil:
		s.asRoot(script{"rm -rf " + quoted(s.absolute(x.Remove.Path))})
	case x.Set != nil:
		s.add(s.set(*x.Set))
		switch x.Set.Field {
		case "user":
			s.call.User = x.Set.Values[0]
		case "workdir":
			s.call.Workdir = path.Clean(destination(s.call.Workdir, x.Set.Values[0]))
		}
	}
}

// absolute is a path of a plugin in the stage.
func (s *standard) absolute(p string) string { return path.Clean(destination(s.call.Workdir, p)) }

func (s *standard) exec(x sdk.Exec) {
	var before, after []string
	if x.User != "" {
		before = append(before, "USER "+s.word("USER", x.User))
		after = append(after, "USER "+s.word("USER", orRoot(s.call.User)))
	}
	if x.Dir != "" {
		before = append(before, "WORKDIR "+s.word("WORKDIR", x.Dir))
		after = append(after, "WORKDIR "+s.word("WORKDIR", s.call.Workdir))
	}
	flags := ""
	if x.Network != "" {
		flags = "--network=" + x.Network + " "
	}
	args := x.Args
	if len(x.Env) > 0 {
		args = append(append([]string{"env"}, x.Env...), args...)
	}
	s.add(append(append(before, "RUN "+flags+s.list(args...)), after...)...)
}

func orRoot(user string) string {
	if user == "" {
		return "root"
	}
	return user
}

func (s *standard) copy(x sdk.Copy) {
	words := []string{"COPY"}
	if x.Unpack {
		words[0] = "ADD"
	}
	if x.From != "" {
		words = append(words, s.flag("from", x.From))
	}
	if x.Owner != "" {
		words = append(words, s.expandedFlag("chown", x.Owner))
	}
	if x.Mode != "" {
		words = append(words, s.expandedFlag("chmod", x.Mode))
	}
	for _, e := range x.Exclude {
		words = append(words, s.flag("exclude", e))
	}
	if x.Parents {
		words = append(words, "--parents")
	}
	if linked(x) {
		words = append(words, "--link")
	}
	s.add(strings.Join(append(words, s.escaped(append(append([]string{}, x.Sources...), x.Dest)...)), " "))
}

// plainName is a variable's name that needs no quotes.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

func (s *standard) set(x sdk.Set) string {
	keyword := strings.ToUpper(x.Field)
	switch x.Field {
	case "env", "label":
		var pairs []string
		for _, kv := range x.Values {
			name, value, _ := strings.Cut(kv, "=")
			value = s.word(fmt.Sprintf("%s %q", keyword, name), value)
			if x.Field == "label" || !plainName.MatchString(name) {
				name = s.word("the name in "+keyword, name)
			}
			pairs = append(pairs, name+"="+value)
		}
		return keyword + " " + strings.Join(pairs, " ")
	case "entrypoint", "cmd", "shell":
		return keyword + " " + s.list(x.Values...)
	case "volume":
		return keyword + " " + s.escaped(x.Values...)
	case "healthcheck":
		if len(x.Values) == 1 && x.Values[0] == "NONE" {
			return "HEALTHCHECK NONE"
		}
		return "HEALTHCHECK CMD " + s.list(x.Values...)
	case "onbuild":
		return s.onbuild(x.Values[0])
	}
	var words []string
	for _, v := range x.Values {
		words = append(words, s.word(keyword, v))
	}
	return keyword + " " + strings.Join(words, " ")
}

// onbuild writes a trigger, if reading it gives the same one: heredocs are not the only way to have several lines.
func (s *standard) onbuild(trigger string) string {
	s.utf8(trigger)
	line := "ONBUILD " + trigger
	file, err := dockerfile.Parse("Dockerfile", []byte("# escape="+s.escape+"\nFROM scratch\n"+line+"\n"), dockerfile.Options{})
	if err == nil && len(file.Stages) == 1 && len(file.Stages[0].Instructions) == 1 {
		if c, ok := file.Stages[0].Instructions[0].Command.(*dockerfile.Onbuild); ok && c.Expression == trigger {
			return line
		}
	}
	s.refuse("ONBUILD is %q, which no line reads as", trigger)
	return ""
}
