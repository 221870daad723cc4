package lower

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/sdk"
)

// customSet lets the instructions of the language do what they do, with words that nothing is expanded in.
func (l *lowering) customSet(x sdk.Set, step *Step) error {
	if err := text(x.Values...); err != nil {
		return err
	}
	if x.Field == "healthcheck" && len(x.Values) > 0 {
		test := append([]string{"CMD"}, x.Values...)
		if len(x.Values) == 1 && x.Values[0] == "NONE" {
			test = x.Values
		}
		l.setHealthcheck(image.Healthcheck{Test: test}, step)
		return nil
	}
	command, err := setCommand(x)
	if err != nil {
		return err
	}
	if trigger, ok := command.(*dockerfile.Onbuild); ok {
		if err := l.file.CheckTrigger(trigger.Expression); err != nil {
			return fmt.Errorf("set onbuild has %q: %w", trigger.Expression, err)
		}
	}
	checks := l.checks
	l.checks = nil // they are for what users write
	defer func() { l.checks = checks }()
	var done Step
	if err := l.dispatch(dockerfile.Instruction{Command: command, Keyword: l.in.Keyword, Position: l.in.Position}, &done); err != nil {
		return fmt.Errorf("set %s: %w", x.Field, err)
	}
	step.Effects = append(step.Effects, done.Effects...)
	if done.Layer == OneLayer {
		step.Layer = OneLayer
	}
	return nil
}

// setCommand is the instruction that changes a field of the configuration.
func setCommand(x sdk.Set) (dockerfile.Command, error) {
	words := dockerfile.CommandLine{CmdLine: x.Values}
	one := func() string { return strings.Join(x.Values, "") }
	single := len(x.Values) == 1
	switch {
	case len(x.Values) == 0:
		return nil, fmt.Errorf("set %s has no values", x.Field)
	case !single && slices.Contains([]string{"user", "workdir", "stopsignal", "onbuild"}, x.Field):
		return nil, fmt.Errorf("set %s has %d values: it takes one", x.Field, len(x.Values))
	}
	switch x.Field {
	case "env", "label":
		pairs, err := quotedPairs(x)
		if x.Field == "env" {
			return &dockerfile.Env{Env: pairs}, err
		}
		return &dockerfile.Label{Labels: pairs}, err
	case "user":
		return &dockerfile.User{User: quoted(one())}, nil
	case "workdir":
		return &dockerfile.Workdir{Path: quoted(one())}, nil
	case "stopsignal":
		return &dockerfile.StopSignal{Signal: quoted(one())}, nil
	case "entrypoint":
		return &dockerfile.Entrypoint{ShellDependantCmdLine: words}, nil
	case "cmd":
		return &dockerfile.Cmd{ShellDependantCmdLine: words}, nil
	case "shell":
		return &dockerfile.Shell{Shell: x.Values}, nil
	case "expose":
		return &dockerfile.Expose{Ports: quotedAll(x.Values)}, nil
	case "volume":
		return &dockerfile.Volume{Volumes: quotedAll(x.Values)}, nil
	case "onbuild":
		return &dockerfile.Onbuild{Expression: one()}, nil
	}
	return nil, fmt.Errorf("set has the unknown field %q", x.Field)
}

func quotedPairs(x sdk.Set) ([]dockerfile.KeyValue, error) {
	var pairs []dockerfile.KeyValue
	for _, kv := range x.Values {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("set %s has %q: it is NAME=value", x.Field, kv)
		}
		pairs = append(pairs, dockerfile.KeyValue{Key: quoted(name), Value: quoted(value)})
	}
	return pairs, nil
}

func quotedAll(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = quoted(w)
	}
	return out
}

// quoted is a word that expands to the given one: nothing means anything between single quotes.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'"'"'`) + "'" }
