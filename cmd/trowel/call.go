package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/trowel-build/trowel/host"
)

// callFlag is the value of --call: what to do with a Dockerfile instead of building it.
type callFlag struct {
	name         string // empty: build
	json         bool
	ignoreStatus bool
}

// Set reads buildx's form: "check,format=json".
func (c *callFlag) Set(text string) error {
	var read callFlag
	for _, field := range strings.Split(text, ",") {
		key, value, isOption := strings.Cut(field, "=")
		switch {
		case !isOption && read.name == "":
			read.name = key
		case key == "format" && (value == "json" || value == "text"):
			read.json = value == "json"
		case key == "ignorestatus":
			ignore, err := strconv.ParseBool(value)
			if err != nil {
				return fmt.Errorf("ignorestatus is true or false, not %q", value)
			}
			read.ignoreStatus = ignore
		default:
			return fmt.Errorf("%q: want a name, format=json or ignorestatus=true", field)
		}
	}
	switch read.name {
	case "build":
		read.name = ""
	case "lint": // the name that it had first
		read.name = "check"
	case "check", "outline", "targets":
	default:
		return fmt.Errorf("%q: want build, check, outline or targets", read.name)
	}
	*c = read
	return nil
}

// String is the default in the help text.
func (c *callFlag) String() string { return c.name }

// Type is shown in help texts.
func (c *callFlag) Type() string { return "string" }

// checkFlag is --check, another way to write --call=check.
type checkFlag struct{ call *callFlag }

// Set reads a truth value.
func (c checkFlag) Set(text string) error {
	yes, err := strconv.ParseBool(text)
	if err == nil && yes {
		c.call.name = "check"
	}
	return err
}

// String is empty: there is no default to show.
func (c checkFlag) String() string { return "" }

// Type is shown in help texts.
func (c checkFlag) Type() string { return "bool" }

// answer is what can be said of a Dockerfile.
type answer interface{ Text() string }

// call does what --call asks for and writes what comes of it to standard output.
func (p program) call(ctx context.Context, f *buildFlags, dir string) error {
	f.noLocalCache, f.quiet = true, true
	var said answer
	done, err := p.withRequest(ctx, f, dir, func(r host.Request) (err error) {
		switch f.call.name {
		case "outline":
			said, err = host.Outline(ctx, r)
		case "targets":
			said, err = host.Targets(ctx, r)
		default:
			said, err = host.Check(ctx, r)
		}
		return err
	})
	if err != nil || done == inNamespace {
		return err
	}
	if err := p.answer(f.call, said); err != nil {
		return err
	}
	checked, ok := said.(*host.Checked)
	switch {
	case ok && checked.Err != nil:
		return checked.Err
	case ok && len(checked.Findings) > 0 && !f.call.ignoreStatus:
		return exitStatus(exitFailed)
	}
	return nil
}

func (p program) answer(c callFlag, said answer) error {
	text := said.Text()
	if c.json {
		out, err := json.MarshalIndent(said, "", "  ")
		if err != nil {
			return err
		}
		text = string(out) + "\n"
	}
	if out, ok := p.stdout.(*os.File); ok && term.IsTerminal(int(out.Fd())) {
		text = host.Printable(text) // a Dockerfile's lines may be meant for the terminal
	}
	_, err := io.WriteString(p.stdout, text)
	return err
}
