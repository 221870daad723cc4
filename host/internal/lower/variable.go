package lower

import (
	"errors"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
)

// env lowers ENV. All its words are expanded with what was set before it.
func (l *lowering) env(c *dockerfile.Env, step *Step) error {
	pairs, err := l.pairs(c.Env)
	if err != nil {
		return err
	}
	step.CreatedBy = "ENV"
	l.config.Env = slices.Clone(l.config.Env)
	for _, kv := range pairs {
		if kv.Key == "" {
			return errors.New("the name of a variable is empty")
		}
		l.checkPair(c, kv)
		l.checkSecret("ENV", kv.Key)
		step.CreatedBy += " " + kv.String()
		l.vars.set(kv.Key, kv.Value)
		l.config.Env = setEnv(l.config.Env, kv.Key, kv.Value)
	}
	step.Effects = append(step.Effects, set("Env", l.config.Env))
	return nil
}

// label lowers LABEL.
func (l *lowering) label(c *dockerfile.Label, step *Step) error {
	pairs, err := l.pairs(c.Labels)
	if err != nil {
		return err
	}
	l.config.Labels = cloneMap(l.config.Labels)
	step.CreatedBy = "LABEL"
	for _, kv := range pairs {
		l.checkPair(c, kv)
		step.CreatedBy += " " + kv.String()
		l.config.Labels[kv.Key] = kv.Value
	}
	step.Effects = append(step.Effects, set("Labels", l.config.Labels))
	return nil
}

// pairs expands the words of ENV and LABEL.
func (l *lowering) pairs(in []dockerfile.KeyValue) ([]dockerfile.KeyValue, error) {
	out := make([]dockerfile.KeyValue, len(in))
	for i, kv := range in {
		var err error
		out[i].NoDelim = kv.NoDelim
		if out[i].Key, err = l.word(kv.Key); err != nil {
			return nil, err
		}
		if out[i].Value, err = l.word(kv.Value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// arg lowers ARG. The value is that of --build-arg, or the default, or that of the global argument of the name. Unlike
// ENV, each word sees the ones before it. Without a value the argument is only declared.
func (l *lowering) arg(c *dockerfile.Arg, step *Step) error {
	var words []string
	for _, a := range c.Args {
		l.checkSecret("ARG", a.Key)
		value, from, err := l.argValue(a.Key, a.Value)
		if err != nil {
			return err
		}
		word := a.Key
		if from != argUnset {
			word += "=" + value
			if !directsBuilder(a.Key) {
				l.vars.set(a.Key, value)
			}
		}
		words = append(words, word)
		l.args = append(l.args, arg{a.Key, value})
		if from != argGlobal {
			l.out.Outline.Args[a.Key] = Parameter{Name: a.Key, Value: value, Description: a.DocComment, Position: l.in.Position}
		}
		l.out.Outline.Used = append(l.out.Outline.Used, a.Key)
	}
	step.CreatedBy = "ARG " + strings.Join(words, " ")
	return nil
}

// argOrigin says where an argument has its value from.
type argOrigin string

const (
	argUnset   argOrigin = ""
	argGiven   argOrigin = "given"
	argDefault argOrigin = "default"
	argGlobal  argOrigin = "global" // from the ARG before the first FROM, or the platform
)

func (l *lowering) argValue(name string, fallback *string) (value string, from argOrigin, err error) {
	if v, ok := l.plan.BuildArgs[name]; ok {
		return v, argGiven, nil
	}
	if fallback != nil {
		v, err := l.word(*fallback)
		return v, argDefault, err
	}
	if v, ok := l.plan.Args.Get(name); ok {
		return v, argGlobal, nil
	}
	return "", argUnset, nil
}

// directsBuilder reports whether an argument is meant for BuildKit alone and is kept from RUN.
func directsBuilder(name string) bool {
	return name == "BUILDKIT_SBOM_SCAN_CONTEXT" || name == "BUILDKIT_SBOM_SCAN_STAGE"
}
