package dockerfile

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/trowel-build/trowel/host/internal/gitref"
)

// Error is something wrong in a Dockerfile, or with what one of its instructions asks for.
type Error struct {
	File   string
	Line   int // from 1; 0 if it is about no line
	Column int // in characters, from 1; 0 if unknown
	// Instruction is the keyword, "" if there is none.
	Instruction string
	// Position and Source are the lines of the instruction.
	Position Position
	Source   string
	Err      error
	Hint     string // what the user can do, or ""
}

// Error is "Dockerfile:3:8: COPY: cause".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	b.WriteString(": ")
	cause := e.Err.Error()
	// BuildKit's messages often start with the instruction.
	if e.Instruction != "" && !strings.HasPrefix(cause, e.Instruction+" ") {
		b.WriteString(e.Instruction + ": ")
	}
	b.WriteString(cause)
	return b.String()
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// excerptLines is how many lines of a long instruction an excerpt shows.
const excerptLines = 12

// Excerpt is the source for the terminal: numbered lines, the one in question marked with ">" and the column with "^".
// It is empty if the error is about no line.
func (e *Error) Excerpt() string {
	if e.Line == 0 || e.Source == "" {
		return ""
	}
	lines := strings.Split(e.Source, "\n")
	width := len(fmt.Sprint(e.Position.First + len(lines) - 1))
	from := max(0, min(e.Line-e.Position.First-excerptLines/2, len(lines)-excerptLines))
	to := min(len(lines), from+excerptLines)
	var b strings.Builder
	for i := from; i < to; i++ {
		mark, number := " ", e.Position.First+i
		if number == e.Line {
			mark = ">"
		}
		text := printable(lines[i])
		fmt.Fprintf(&b, "%s %*d | %s\n", mark, width, number, text)
		if number == e.Line && e.Column > 0 {
			fmt.Fprintf(&b, "  %*s | %s^\n", width, "", strings.Repeat(" ", e.Column-1))
		}
	}
	return b.String()
}

// maxExcerptColumns keeps a line of 64 KiB off the terminal.
const maxExcerptColumns = 240

// printable keeps a line of untrusted text from driving the terminal, and the passwords in its addresses from the log, a
// character for a character.
func printable(line string) string {
	n := 0
	return strings.Map(func(r rune) rune {
		n++
		switch {
		case n > maxExcerptColumns:
			return -1
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '�'
		}
		return r
	}, gitref.Mask(line))
}

// Fail is an error at an instruction. If word occurs in the instruction's source, the error points there. An err that is
// an [*Error] already is returned as it is.
func (f *File) Fail(in Instruction, word string, err error, hint string) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	e := f.failAt(in.Position, word, err, hint)
	e.Instruction = in.Keyword
	if in.Trigger != "" {
		e.Instruction = "FROM"
		e.Err = fmt.Errorf("ONBUILD trigger %q of the base: %w", in.Text(), err)
	}
	return e
}

// failAt is an error at lines.
func (f *File) failAt(p Position, word string, err error, hint string) *Error {
	p.First = f.clamp(p.First)
	p.Last = max(p.First, f.clamp(p.Last))
	e := &Error{File: f.Name, Line: p.First, Position: p, Source: f.Source(p), Err: err, Hint: hint}
	if line, column, ok := f.find(p, word); ok {
		e.Line, e.Column = line, column
	}
	return e
}

// find is where word stands in the lines at p, preferably as a word of its own.
func (f *File) find(p Position, word string) (line, column int, ok bool) {
	if word == "" {
		return 0, 0, false
	}
	for _, whole := range []bool{true, false} {
		for n := p.First; n <= p.Last && n <= len(f.lines); n++ {
			if at := indexWord(f.lines[n-1], word, whole); at >= 0 {
				return n, utf8.RuneCountInString(f.lines[n-1][:at]) + 1, true
			}
		}
	}
	return 0, 0, false
}

// indexWord is the offset of word in line or -1. As a whole word it may not touch other characters of words.
func indexWord(line, word string, whole bool) int {
	for from := 0; from <= len(line); {
		at := strings.Index(line[from:], word)
		if at < 0 {
			return -1
		}
		at += from
		before, _ := utf8.DecodeLastRuneInString(line[:at])
		after, _ := utf8.DecodeRuneInString(line[at+len(word):])
		if !whole || !isWordRune(before) && !isWordRune(after) {
			return at
		}
		from = at + 1
	}
	return -1
}

func isWordRune(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./:@", r))
}
