package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

const (
	// maxSize is far above any real Dockerfile and far below what hurts.
	maxSize = 16 << 20
	// maxLine is BuildKit's limit, without the line's end.
	maxLine = 65535
	// maxInstructions bounds what a hostile file can make of 16 MiB: each instruction keeps the lists that it changes.
	maxInstructions = 5000
)

// checkText refuses what is no Dockerfile at all, before the parser sees it.
func (f *File) checkText(text []byte) error {
	if len(text) > maxSize {
		return &Error{
			File: f.Name, Err: fmt.Errorf("the file has %d bytes: more than %d are not read", len(text), maxSize),
			Hint: "is this the Dockerfile, or a file that it copies?",
		}
	}
	f.lines = splitLines(text)
	if at := bytes.IndexByte(text, 0); at >= 0 {
		line := bytes.Count(text[:at], []byte("\n")) + 1
		column := at - bytes.LastIndexByte(text[:at], '\n')
		hint := "is this the Dockerfile? It looks like a binary file"
		if bytes.HasPrefix(text, []byte{0xFF, 0xFE}) || bytes.HasPrefix(text, []byte{0xFE, 0xFF}) {
			hint = "the file is UTF-16: save it as UTF-8"
		}
		return &Error{
			File: f.Name, Line: line, Column: column, Position: Position{line, line},
			Source: f.Source(Position{line, line}), Err: errors.New("there is a NUL byte in the file"), Hint: hint,
		}
	}
	for i, line := range f.lines {
		if len(line) > maxLine {
			return f.failAt(Position{i + 1, i + 1}, "",
				fmt.Errorf("the line has %d bytes: more than %d are not supported", len(line), maxLine),
				"break it with continuation lines, or COPY the text from a file")
		}
	}
	if len(bytes.TrimSpace(bytes.TrimPrefix(text, bom))) == 0 {
		return &Error{File: f.Name, Err: errors.New("the Dockerfile is empty"), Hint: "a Dockerfile starts with FROM"}
	}
	return nil
}

var bom = []byte{0xEF, 0xBB, 0xBF}

// splitLines splits text into lines without their ends.
func splitLines(text []byte) []string {
	s := strings.TrimSuffix(string(bytes.TrimPrefix(text, bom)), "\n")
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	return lines
}

// directives reads the comments at the top that direct the parser.
func (f *File) directives(text []byte) error {
	if syntax, _, where, ok := parser.DetectSyntax(text); ok {
		if err := CheckSyntax(syntax); err != nil {
			return f.failAt(position(where), syntax, err,
				"remove the line: the language of docker/dockerfile is built in, other frontends cannot be run")
		}
	}
	var p parser.DirectiveParser
	for i, line := range f.lines {
		at := Position{i + 1, i + 1}
		d, err := p.ParseLine([]byte(strings.TrimLeftFunc(line, unicode.IsSpace)))
		if err != nil {
			return f.failAt(at, "", err, "")
		}
		if d == nil {
			break
		}
		switch d.Name {
		case "escape":
			if d.Value != "`" && d.Value != `\` {
				return f.failAt(at, d.Value, fmt.Errorf("escape character %q is not supported", d.Value), "it can be \\ or `")
			}
			f.Escape = rune(d.Value[0])
		case "check":
			config, err := linter.ParseLintOptions(d.Value)
			if err != nil {
				return f.failAt(at, d.Value, err, "write check=skip=Rule,Rule;error=true")
			}
			f.checks = *config
		}
	}
	return nil
}

// CheckSyntax accepts the references of "# syntax=" that mean the built-in language: any version of docker/dockerfile.
func CheckSyntax(ref string) error {
	name := strings.TrimPrefix(strings.TrimPrefix(ref, "index.docker.io/"), "docker.io/")
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	if name == "docker/dockerfile" || name == "docker/dockerfile-upstream" {
		return nil
	}
	return fmt.Errorf("syntax %q is not supported", ref)
}
