// Package dockerfile turns the text of a Dockerfile into stages of instructions with their positions. It is the one home
// of BuildKit's parser, so that what is accepted, and how words are expanded, is what BuildKit accepts and does.
//
// Instructions are BuildKit's own types under aliases ([Run], [Copy], …): other packages read them without importing
// BuildKit. They are shared and must not be changed; above all, their Expand methods, which work in place, must not be
// called. [Lexer] expands words instead.
package dockerfile

import (
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"

	"github.com/trowel-build/trowel/sdk"
)

// File is a parsed Dockerfile. It is immutable.
type File struct {
	Name   string // as in error messages
	Args   []Instruction
	Stages []*Stage
	// Escape is the escape character: a backslash, or a backtick by "# escape=`".
	Escape rune
	// Warnings are what the build checks found that fire while parsing.
	Warnings []Warning

	lines  []string
	checks linter.Config
	custom map[string]sdk.Instruction // by keyword
}

// Stage is a FROM and the instructions below it.
type Stage struct {
	Index    int
	Name     string // lower-case; empty if the stage has none
	BaseName string // as written, variables and all
	Platform string // --platform, as written
	Comment  string // what the comment above FROM says of the stage
	// From is the FROM itself, for positions; its Command is nil.
	From         Instruction
	Instructions []Instruction
}

// Instruction is one instruction and where it stands.
type Instruction struct {
	Command  Command
	Keyword  string // upper-case
	Position Position
	// Comments are the lines of the comment right above, without the "#".
	Comments []string
	// Trigger is the text of the ONBUILD trigger that this instruction comes from, if it does; its position is then that
	// of the FROM that set it off.
	Trigger string
}

// Text is the instruction on one line, as it was written: continuation lines joined, heredocs left out.
func (in Instruction) Text() string {
	if in.Trigger != "" {
		line, _, _ := strings.Cut(in.Trigger, "\n")
		return line
	}
	if s, ok := in.Command.(interface{ String() string }); ok {
		return s.String()
	}
	return in.Keyword
}

// Position is a range of lines, both counted from 1 and inclusive.
type Position struct {
	First int
	Last  int
}

// Lines are the lines of the file.
func (f *File) Lines() []string { return slices.Clone(f.lines) }

// Source is the text of the lines at p.
func (f *File) Source(p Position) string {
	first, last := f.clamp(p.First), f.clamp(p.Last)
	if p.First < 1 || first > last || last > len(f.lines) {
		return ""
	}
	return strings.Join(f.lines[first-1:last], "\n")
}

// clamp brings a line number into the file.
func (f *File) clamp(line int) int { return max(1, min(line, len(f.lines))) }

// The instructions are BuildKit's types.
type (
	// Command is any instruction but FROM.
	Command = instructions.Command

	// Add is ADD.
	Add = instructions.AddCommand
	// Arg is ARG.
	Arg = instructions.ArgCommand
	// Cmd is CMD.
	Cmd = instructions.CmdCommand
	// Copy is COPY.
	Copy = instructions.CopyCommand
	// Entrypoint is ENTRYPOINT.
	Entrypoint = instructions.EntrypointCommand
	// Env is ENV.
	Env = instructions.EnvCommand
	// Expose is EXPOSE.
	Expose = instructions.ExposeCommand
	// Healthcheck is HEALTHCHECK.
	Healthcheck = instructions.HealthCheckCommand
	// Label is LABEL.
	Label = instructions.LabelCommand
	// Maintainer is MAINTAINER.
	Maintainer = instructions.MaintainerCommand
	// Onbuild is ONBUILD.
	Onbuild = instructions.OnbuildCommand
	// Run is RUN.
	Run = instructions.RunCommand
	// Shell is SHELL.
	Shell = instructions.ShellCommand
	// StopSignal is STOPSIGNAL.
	StopSignal = instructions.StopSignalCommand
	// User is USER.
	User = instructions.UserCommand
	// Volume is VOLUME.
	Volume = instructions.VolumeCommand
	// Workdir is WORKDIR.
	Workdir = instructions.WorkdirCommand

	// CommandLine is what RUN, CMD and ENTRYPOINT have in common.
	CommandLine = instructions.ShellDependantCmdLine
	// KeyValue is a word of ENV or LABEL.
	KeyValue = instructions.KeyValuePair
	// Mount is a --mount of RUN.
	Mount = instructions.Mount
	// Sources are what COPY and ADD have in common.
	Sources = instructions.SourcesAndDest
)

// Mounts are the --mount flags of a RUN. Only From is known: BuildKit reads the other keys once it expands them.
func Mounts(c *Run) []*Mount { return instructions.GetMounts(c) }

// ExpandMounts are the --mount flags of a RUN with all their keys, each value expanded.
func ExpandMounts(c *Run, expand func(word string) (string, error)) ([]*Mount, error) {
	if err := c.Expand(expand); err != nil {
		return nil, err
	}
	return instructions.GetMounts(c), nil
}

// Network is the --network of a RUN: "default", "none" or "host".
func Network(c *Run) string { return instructions.GetNetwork(c) }

// Security is the --security of a RUN: "sandbox" or "insecure".
func Security(c *Run) string { return instructions.GetSecurity(c) }
