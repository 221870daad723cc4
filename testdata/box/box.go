// Package box is the user land of the images that tests build on: a shell and some forty commands in one static program,
// called by the name it is started under, as busybox is. The shell is a real one (mvdan.cc/sh); the commands know the options
// that tests use, and refuse others. What prepares a test's build context runs in it as well, so that it does not depend on the
// machine.
package box

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// Main runs what the program was called as and returns its exit code.
func Main() int {
	name := filepath.Base(os.Args[0])
	if name != "sh" && name != "bash" {
		return code(call(process(), name, os.Args[1:]))
	}
	return code(shell(name, os.Args[1:]))
}

// code is what a process ends with after err.
func code(err error) int {
	if err == nil {
		return 0
	}
	if status, ok := interp.IsExitStatus(err); ok {
		return int(status)
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// shell is `sh [-FLAGS] [-c COMMANDS | FILE]`, or commands from standard input.
func shell(name string, args []string) error {
	var flags []string
	var text io.Reader = os.Stdin
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		letters, isCommand := strings.CutSuffix(args[0], "c")
		if letters != "-" {
			flags = append(flags, letters)
		}
		args = args[1:]
		if isCommand {
			if len(args) == 0 {
				return errors.New("sh: -c needs commands")
			}
			return run(strings.NewReader(args[0]), name, flags, args[1:])
		}
	}
	if len(args) > 0 {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		text, args = f, args[1:]
	}
	return run(text, name, flags, args)
}

func run(text io.Reader, name string, flags, args []string) error {
	if len(args) > 0 && len(flags) == 0 {
		args = append([]string{"--"}, args...)
	}
	env := os.Environ()
	if name == "bash" {
		env = append(env, "BASH_VERSION=box")
	}
	return interpret(context.Background(), text, "", env, os.Stdin, os.Stdout, os.Stderr, interp.Params(append(flags, args...)...))
}

// Script runs commands in a directory, as `sh -eu` does; what they print is returned.
func Script(ctx context.Context, text, dir string) (string, error) {
	var out strings.Builder
	env := []string{"PATH=/nowhere", "HOME=" + dir}
	err := interpret(ctx, strings.NewReader(text), dir, env, nil, &out, &out, interp.Params("-e", "-u"))
	return out.String(), err
}

func interpret(ctx context.Context, text io.Reader, dir string, env []string, in io.Reader, out, diagnostics io.Writer, params interp.RunnerOption) error {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(text, "")
	if err != nil {
		return err
	}
	runner, err := interp.New(interp.StdIO(in, out, diagnostics), interp.Env(expand.ListEnviron(env...)), interp.Dir(dir), params,
		interp.ExecHandlers(func(next interp.ExecHandlerFunc) interp.ExecHandlerFunc { return execute(next, env) }))
	if err != nil {
		return err
	}
	return runner.Run(ctx, file)
}

// execute runs a command: a file if it is named by a path, else one of ours, else what PATH finds.
func execute(next interp.ExecHandlerFunc, environ []string) interp.ExecHandlerFunc {
	return func(ctx context.Context, args []string) error {
		h := interp.HandlerCtx(ctx)
		if commands()[args[0]] == nil {
			if _, err := interp.LookPathDir(h.Dir, h.Env, args[0]); err != nil {
				fmt.Fprintf(h.Stderr, "sh: %s: not found\n", args[0])
				return interp.NewExitStatus(127)
			}
			return next(ctx, args)
		}
		c := &caller{dir: h.Dir, env: environ, in: h.Stdin, out: h.Stdout}
		err := call(c, args[0], args[1:])
		if _, isStatus := interp.IsExitStatus(err); err == nil || isStatus {
			return err
		}
		fmt.Fprintln(h.Stderr, err)
		return interp.NewExitStatus(1)
	}
}

// caller is what a command sees of the process or the shell that runs it.
type caller struct {
	dir string
	env []string
	in  io.Reader
	out io.Writer
}

func process() *caller {
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	return &caller{dir: dir, env: os.Environ(), in: os.Stdin, out: os.Stdout}
}

// path is where a command's argument leads.
func (c *caller) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return c.dir + "/" + p
}

func (c *caller) print(args ...any) error {
	_, err := fmt.Fprintln(c.out, args...)
	return err
}

// invocation is a command's options and operands.
type invocation struct {
	*caller
	options map[byte]string // value, or the option's letter
	args    []string
}

func (i *invocation) has(letter byte) bool { _, ok := i.options[letter]; return ok }

// each does something with every operand's path.
func (i *invocation) each(do func(path string) error) error {
	for _, a := range i.args {
		if err := do(i.path(a)); err != nil {
			return err
		}
	}
	return nil
}

// command is one of the box.
type command struct {
	options string // letters; one before ':' has a value
	least   int    // operands
	run     func(*invocation) error
}

func call(c *caller, name string, args []string) error {
	known := commands()[name]
	if known == nil {
		fmt.Fprintf(os.Stderr, "sh: %s: not found\n", name)
		return interp.NewExitStatus(127)
	}
	i := &invocation{caller: c, options: map[byte]string{}}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		letters := args[0][1:]
		args = args[1:]
		if letters == "-" {
			break
		}
		for at := 0; at < len(letters); at++ {
			letter := letters[at]
			found := strings.IndexByte(known.options, letter)
			if found < 0 {
				return fmt.Errorf("%s: unknown option -%c", name, letter)
			}
			i.options[letter] = string(letter)
			if strings.HasPrefix(known.options[found+1:], ":") {
				if len(args) == 0 {
					return fmt.Errorf("%s: -%c needs a value", name, letter)
				}
				i.options[letter], args = args[0], args[1:]
			}
		}
	}
	if i.args = args; len(args) < known.least {
		return fmt.Errorf("%s: %d operands, want %d", name, len(args), known.least)
	}
	if err := known.run(i); err != nil {
		if _, isStatus := interp.IsExitStatus(err); isStatus {
			return err
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// parseTime reads the argument of -d.
func parseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999 UTC"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time", text)
}
