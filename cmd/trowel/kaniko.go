package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The programs of kaniko that Trowel stands in for, by the names they are called by.
const (
	nameExecutor = "executor"
	nameWarmer   = "warmer"
)

// asKaniko puts the name of kaniko's program that this one was called by before the arguments: /kaniko/executor is Trowel.
func asKaniko(program string, args []string) []string {
	name := filepath.Base(program)
	if name != nameExecutor && name != nameWarmer {
		return args
	}
	if len(args) > 0 && args[0] == name { // in the process of a user namespace: it was put there before
		return args
	}
	return append([]string{name}, args...)
}

// Marks on flags, from which examples/kaniko/README.md is made.
const (
	markEnv  = "env"  // the variable that sets the flag
	markIdle = "idle" // why the flag has no meaning here
	markOld  = "old"  // the name that took the flag's place
)

func mark(flags *pflag.FlagSet, name, key, value string) {
	if err := flags.SetAnnotation(name, key, []string{value}); err != nil {
		panic(err) // the flag is registered in the line above
	}
}

func marked(f *pflag.Flag, key string) (string, bool) {
	if values := f.Annotations[key]; len(values) == 1 {
		return values[0], true
	}
	return "", false
}

// idle is a flag that kaniko has and that means nothing here: what it asks for is always so, or there is nothing to ask it
// of. It is accepted where kaniko accepts it.
type idle struct {
	name, def, why string
	kind           valueKind
	words          []string // the only values; nil: any of the kind
}

// valueKind is what a flag takes.
type valueKind string

// The kinds of value.
const (
	boolValue   valueKind = "bool"
	stringValue valueKind = "string"
)

// idleValue checks what it is set to, and keeps it for the help text alone.
type idleValue struct {
	idle
	value string
}

// Set refuses what kaniko does.
func (v *idleValue) Set(text string) error {
	if v.kind == boolValue {
		if _, err := parseBool(text); err != nil {
			return err
		}
	}
	if v.words != nil && !slices.Contains(v.words, text) {
		return fmt.Errorf("%q: want %s", text, strings.Join(v.words, ", "))
	}
	v.value = text
	return nil
}

// String is the value.
func (v *idleValue) String() string { return v.value }

// Type is shown in help texts.
func (v *idleValue) Type() string { return string(v.kind) }

func addIdle(flags *pflag.FlagSet, all []idle) {
	for _, i := range all {
		flag := flags.VarPF(&idleValue{i, i.def}, i.name, "", "accepted and without a meaning: "+i.why)
		if i.kind == boolValue {
			flag.NoOptDefVal = "true"
		}
		mark(flags, i.name, markIdle, i.why)
	}
}

// addOld registers the old name of a flag, which shares its value.
func addOld(flags *pflag.FlagSet, old, name string) {
	f := flags.Lookup(name)
	flag := flags.VarPF(f.Value, old, "", "the old name of --"+name)
	flag.NoOptDefVal, flag.DefValue = f.NoOptDefVal, f.DefValue
	mark(flags, old, markOld, name)
}

// notes are what there is to say of the flags that were given: the old names, and those without a meaning.
func notes(flags *pflag.FlagSet) (warnings []string, idle string) {
	var without []string
	flags.Visit(func(f *pflag.Flag) {
		if name, ok := marked(f, markOld); ok {
			warnings = append(warnings, fmt.Sprintf("--%s is the old name of --%s", f.Name, name))
			f = flags.Lookup(name)
		}
		if why, ok := marked(f, markIdle); ok {
			without = append(without, fmt.Sprintf("--%s (%s)", f.Name, why))
		}
	})
	if len(without) > 0 {
		idle = "kaniko's flags without a meaning here: " + strings.Join(without, ", ")
	}
	return warnings, idle
}

// kanikoLog are the flags about the log that all of kaniko's programs have.
type kanikoLog struct {
	verbosity, format string
	timestamp         bool
}

func (l *kanikoLog) register(flags *pflag.FlagSet) {
	flags.StringVarP(&l.verbosity, "verbosity", "v", "info", "info, debug and trace show the progress of the build, warn its warnings, error, fatal and panic nothing but what it fails with")
	flags.StringVar(&l.format, "log-format", "color", "color, text (no live view of the progress) or json (one object a line, as --progress=rawjson)")
	flags.BoolVar(&l.timestamp, "log-timestamp", false, "start each line of the log with the time")
}

// levels are kaniko's, the most talkative first.
var levels = []string{"trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"}

func (l *kanikoLog) check() error {
	l.verbosity = strings.ToLower(l.verbosity)
	if !slices.Contains(levels, l.verbosity) {
		return usageError{fmt.Errorf("--verbosity %q: want one of %s", l.verbosity, strings.Join(levels, ", "))}
	}
	if formats := []string{"color", "text", "json"}; !slices.Contains(formats, l.format) {
		return usageError{fmt.Errorf("--log-format %q: want color, text or json", l.format)}
	}
	return nil
}

// progress is the mode in which progress is shown.
func (l *kanikoLog) progress() string {
	switch {
	case slices.Index(levels, l.verbosity) >= slices.Index(levels, "error"):
		return "quiet"
	case l.format == "json":
		return "rawjson"
	case l.format == "text" || l.quiet():
		return "plain"
	}
	return "auto"
}

// quiet says whether warnings alone are to be shown.
func (l *kanikoLog) quiet() bool { return strings.HasPrefix(l.verbosity, "warn") }

// kanikoArgs refuses arguments of a program that takes flags alone.
func kanikoArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{hinted{
		fmt.Errorf("%s takes no argument, and got %q", cmd.CommandPath(), args[0]),
		"the value of a flag that may stand alone is written with =, as in --cache=true",
	}}
}

// timestamped puts the time before each line.
type timestamped struct {
	to    io.Writer
	now   func() string
	began bool // a line
}

// Write writes whole or not at all as far as its caller can know.
func (t *timestamped) Write(p []byte) (int, error) {
	var out []byte
	for line := range strings.Lines(string(p)) {
		if !t.began {
			out = append(out, t.now()+" "...)
		}
		out = append(out, line...)
		t.began = !strings.HasSuffix(line, "\n")
	}
	if _, err := t.to.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
