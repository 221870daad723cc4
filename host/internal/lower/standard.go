package lower

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/trowel-build/trowel/sdk"
)

// Standard is a use of a plugin's instruction in the words of the Dockerfile language, a line or several for each effect:
// what the plugin does can be had without it. The files are the same, if in more layers.
func (c *Custom) Standard() []string {
	var out []string
	call := c.Call
	asRoot := func(lines ...string) {
		if user, _, _ := strings.Cut(call.User, ":"); user != "" && user != "0" && user != "root" && strings.HasPrefix(lines[0], "RUN ") {
			// Effects on files do not ask who the user is.
			lines = append(append([]string{"USER root"}, lines...), "USER "+quoted(call.User))
		}
		out = append(out, lines...)
	}
	for _, x := range c.Plan.Effects {
		switch {
		case x.Exec != nil:
			out = append(out, standardExec(call, *x.Exec)...)
		case x.Copy != nil:
			out = append(out, standardCopy(*x.Copy))
		case x.Write != nil:
			asRoot(standardWrite(*x.Write)...)
		case x.Mkdir != nil:
			asRoot(standardMkdir(*x.Mkdir)...)
		case x.Symlink != nil:
			asRoot(shell("mkdir -p", path.Dir(x.Symlink.Path)) + and("ln -sfn", x.Symlink.Target, x.Symlink.Path))
		case x.Remove != nil:
			asRoot(shell("rm -rf", x.Remove.Path))
		case x.Set != nil:
			out = append(out, standardSet(*x.Set)...)
			switch x.Set.Field {
			case "user":
				call.User = x.Set.Values[0]
			case "workdir":
				call.Workdir = path.Clean(destination(call.Workdir, x.Set.Values[0]))
			}
		}
	}
	return out
}

// shell is a RUN of a command with words that the shell takes as they are.
func shell(command string, words ...string) string {
	return "RUN " + command + " " + strings.Join(quotedAll(noFlags(words)), " ")
}

// and is one more command after a [shell].
func and(command string, words ...string) string {
	return " && " + command + " " + strings.Join(quotedAll(noFlags(words)), " ")
}

// noFlags keeps words from being taken for flags, the first of which would be.
func noFlags(words []string) []string {
	if strings.HasPrefix(words[0], "-") {
		return append([]string{"--"}, words...)
	}
	return words
}

// list is a JSON list, as RUN and others take it.
func list(words ...string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(words); err != nil {
		panic("lower: a list of strings has no JSON form: " + err.Error())
	}
	return strings.TrimSuffix(strings.ReplaceAll(b.String(), `","`, `", "`), "\n")
}

// escaped is a list in which nothing is expanded, for the instructions that expand words of JSON lists too.
func escaped(words ...string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strings.NewReplacer(`\`, `\\`, `$`, `\$`, `"`, `\"`, `'`, `\'`).Replace(w)
	}
	return list(out...)
}

func standardExec(call sdk.Call, x sdk.Exec) []string {
	var before, after []string
	if x.User != "" {
		before = append(before, "USER "+quoted(x.User))
		after = append(after, "USER "+quoted(orRoot(call.User)))
	}
	if x.Dir != "" {
		before = append(before, "WORKDIR "+quoted(x.Dir))
		after = append(after, "WORKDIR "+quoted(call.Workdir))
	}
	flags := ""
	if x.Network != "" {
		flags = "--network=" + x.Network + " "
	}
	args := x.Args
	if len(x.Env) > 0 {
		args = append(append([]string{"env"}, x.Env...), args...)
	}
	return append(append(before, "RUN "+flags+list(args...)), after...)
}

func orRoot(user string) string {
	if user == "" {
		return "root"
	}
	return user
}

func standardCopy(x sdk.Copy) string {
	words := []string{"COPY"}
	if x.Unpack {
		words[0] = "ADD"
	}
	add := func(name, value string) {
		if value != "" {
			words = append(words, "--"+name+"="+quoted(value))
		}
	}
	add("from", x.From)
	add("chown", x.Owner)
	add("chmod", x.Mode)
	for _, e := range x.Exclude {
		add("exclude", e)
	}
	if x.Parents {
		words = append(words, "--parents")
	}
	if x.Link {
		words = append(words, "--link")
	}
	return strings.Join(append(words, escaped(append(append([]string{}, x.Sources...), x.Dest)...)), " ")
}

const (
	maxLine    = 60 << 10 // of a Dockerfile; BuildKit's is a little more
	maxPrinted = 12 << 10 // bytes that a line prints: each takes up to four
)

func standardWrite(x sdk.Write) []string {
	mode, owner := x.Mode, ""
	if mode == "" {
		mode = "0644"
	}
	if x.Owner != "" {
		owner = " --chown=" + quoted(x.Owner)
	}
	x.Path = path.Clean(x.Path) // a directory's name would have the heredoc's in it
	content := string(x.Content)
	if !utf8.ValidString(content) || strings.ContainsRune(content, 0) || !strings.HasSuffix(content, "\n") || strings.Contains(content, "\r") ||
		strings.ContainsAny(x.Path, " \t'\"") || slices.ContainsFunc(strings.Split(content, "\n"), func(line string) bool { return len(line) > maxLine }) {
		// A heredoc holds whole lines of text, none of 64 KiB or more, and COPY splits its words at blanks in quotes too.
		var lines []string
		line := shell("mkdir -p", path.Dir(x.Path)) + " && : > " + quoted(x.Path)
		for i := 0; i < len(x.Content); i += maxPrinted {
			if i > 0 {
				lines, line = append(lines, line), "RUN :"
			}
			line += " && printf '" + octalEscapes(x.Content[i:min(i+maxPrinted, len(x.Content))]) + "' >> " + quoted(x.Path)
		}
		line += and("chmod "+mode, x.Path)
		if x.Owner != "" {
			line += and("chown", x.Owner, x.Path)
		}
		return append(lines, line)
	}
	word := "EOF"
	for i := 1; strings.Contains("\n"+content, "\n"+word+"\n"); i++ {
		word = fmt.Sprintf("EOF%d", i)
	}
	// The heredoc's word is quoted, so nothing in it is expanded; its file is named by the destination.
	chmod := ""
	if symbolic := writeMode(mode); symbolic != "" {
		chmod = " --chmod=" + symbolic
	}
	return []string{"COPY" + chmod + owner + " <<'" + word + "' " + quoted(x.Path) + "\n" + content + word}
}

// octalEscapes is content as printf(1) takes it.
func octalEscapes(content []byte) string {
	var b strings.Builder
	for _, c := range content {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune(" .,:;/=_+(){}[]<>@#!?|&*~^", rune(c)) {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, `\%03o`, c)
	}
	return b.String()
}

func standardMkdir(x sdk.Mkdir) []string {
	line := shell("mkdir -p", x.Path)
	if x.Mode != "" {
		line += and("chmod "+x.Mode, x.Path)
	}
	if x.Owner != "" {
		line += and("chown", x.Owner, x.Path)
	}
	return []string{line}
}

func standardSet(x sdk.Set) []string {
	keyword := strings.ToUpper(x.Field)
	switch x.Field {
	case "env", "label":
		var pairs []string
		for _, kv := range x.Values {
			name, value, _ := strings.Cut(kv, "=")
			pairs = append(pairs, quoted(name)+"="+quoted(value))
		}
		if x.Field == "env" {
			for i, kv := range x.Values {
				name, value, _ := strings.Cut(kv, "=")
				pairs[i] = name + "=" + quoted(value)
			}
		}
		return []string{keyword + " " + strings.Join(pairs, " ")}
	case "entrypoint", "cmd", "shell":
		return []string{keyword + " " + list(x.Values...)}
	case "volume":
		return []string{keyword + " " + escaped(x.Values...)}
	case "healthcheck":
		if len(x.Values) == 1 && x.Values[0] == "NONE" {
			return []string{"HEALTHCHECK NONE"}
		}
		return []string{"HEALTHCHECK CMD " + list(x.Values...)}
	case "onbuild":
		return []string{"ONBUILD " + strings.Join(x.Values, "")}
	}
	return []string{keyword + " " + strings.Join(quotedAll(x.Values), " ")}
}
