package lower

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
)

// pipesDir is where RUN finds the scripts that heredocs hold.
const pipesDir = "/dev/pipes"

// run lowers RUN.
func (l *lowering) run(c *dockerfile.Run, step *Step) error {
	security, err := l.security(c)
	if err != nil {
		return err
	}
	exec := effect.Exec{
		Env: l.vars.list(), Unkeyed: proxies(l.plan.BuildArgs), Dir: l.dir(), User: l.config.User,
		Network: effect.Network(dockerfile.Network(c)), Security: security,
	}
	if err := l.mounts(c, &exec); err != nil {
		return err
	}
	var summary string
	if exec.Args, exec.Scripts, summary, err = l.commandLine(c); err != nil {
		return err
	}
	step.Name = l.numbered(l.title(l.lex.Display(l.in.Text()+summary, &l.vars)))
	step.Effects = []effect.Effect{exec}
	step.CreatedBy = "RUN " + strings.Join(append(l.argWords(), exec.Args...), " ") + " # buildkit"
	step.Layer = OneLayer
	return nil
}

// security is what RUN asks for with --security.
func (l *lowering) security(c *dockerfile.Run) (effect.Security, error) {
	switch s := dockerfile.Security(c); s {
	case "sandbox":
		return effect.SecuritySandbox, nil
	case "insecure":
		return effect.SecurityInsecure, nil
	default:
		return "", l.fail("--security", fmt.Errorf("security %q: want sandbox or insecure", s), "")
	}
}

// commandLine is what RUN executes: the JSON form as it is; otherwise the shell with the text, or with the heredoc that
// is the whole of it. A heredoc that starts with "#!" is a script of its own. Summary is what the step's name says of it.
func (l *lowering) commandLine(c *dockerfile.Run) (args []string, scripts []effect.File, summary string, err error) {
	args = c.CmdLine
	if !c.PrependShell {
		if len(args) == 0 {
			return nil, nil, "", errors.New("the list of arguments is empty: there is nothing to run")
		}
		return args, nil, "", nil
	}
	text := strings.Join(args, " ")
	switch {
	case len(c.Files) == 0:
	case dockerfile.IsHeredoc(text):
		file := c.Files[0]
		summary = " (" + summarize(file.Data) + ")"
		text = file.Data
		if file.Chomp {
			text = dockerfile.Chomp(text)
		}
		if strings.HasPrefix(text, "#!") {
			name, err := l.heredocName(file.Name)
			if err != nil {
				return nil, nil, "", err
			}
			scripts = []effect.File{{Name: name, Content: text}}
			text = path.Join(pipesDir, name)
		}
	default:
		// The shell reads the heredocs itself.
		for _, file := range c.Files {
			text += "\n" + file.Data + file.Name
		}
	}
	return l.withShell(text), scripts, summary, nil
}

// heredocName is the file name that a heredoc's word is. BuildKit takes a path as well, and then finds no directory for it.
func (l *lowering) heredocName(word string) (string, error) {
	name := strings.TrimPrefix(path.Clean("/"+word), "/")
	if name == "" || strings.Contains(name, "/") {
		return "", l.fail(word, fmt.Errorf("heredoc %q: its word is its file's name and cannot be a path", word), "")
	}
	return name, nil
}

// summarize is the first line of a heredoc.
func summarize(text string) string {
	first, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	first = strings.TrimSuffix(first, "\r")
	if more {
		first += "..."
	}
	return first
}

// withShell is a command line for the shell that SHELL set.
func (l *lowering) withShell(text string) []string {
	shell := l.config.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(shell), text)
}

// dir is where RUN and relative destinations are.
func (l *lowering) dir() string { return path.Join("/", l.config.WorkingDir) }

// argWords are the declared arguments as history has them before a command line: "|2 a=1 b=2".
func (l *lowering) argWords() []string {
	var words []string
	at := map[string]int{}
	for _, a := range l.args {
		value, ok := l.vars.Get(a.name)
		if !ok {
			value = a.value
		}
		word := a.name + "=" + value
		if i, ok := at[a.name]; ok {
			words[i] = word
			continue
		}
		at[a.name] = len(words)
		words = append(words, word)
	}
	if len(words) == 0 {
		return nil
	}
	return append([]string{fmt.Sprintf("|%d", len(words))}, words...)
}

// proxies are the variables that build arguments set for RUN without an ARG, in capitals and in small letters, whichever
// was given. The value given in small letters wins.
func proxies(buildArgs map[string]string) []string {
	var out []string
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"} {
		value := ""
		for _, given := range slices.Sorted(maps.Keys(buildArgs)) {
			if strings.EqualFold(given, name) {
				value = buildArgs[given]
			}
		}
		if value != "" {
			out = append(out, name+"="+value, strings.ToLower(name)+"="+value)
		}
	}
	return out
}
