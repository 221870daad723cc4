package dockerfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// Variables are what words are expanded with.
type Variables interface {
	Get(name string) (string, bool)
	Keys() []string
}

// Lexer expands variables in words the way BuildKit does. It is not safe for use by several goroutines.
type Lexer struct {
	lex     *shell.Lex
	display *shell.Lex
	spent   int // bytes that words expanded to
}

// Lexer returns a new lexer with the file's escape character.
func (f *File) Lexer() *Lexer {
	display := shell.NewLex(f.Escape)
	display.RawQuotes, display.RawEscapes, display.SkipUnsetEnv = true, true, true
	return &Lexer{lex: shell.NewLex(f.Escape), display: display}
}

// Word expands a word and removes its quotes.
func (l *Lexer) Word(word string, vars Variables) (string, error) {
	m := meter(word, vars)
	out, _, err := l.lex.ProcessWord(word, m)
	return out, l.finish(word, m, err, len(out))
}

// Expansion is what a word expands to and the variables it mentions, sorted: those that have a value and those that do not.
type Expansion struct {
	Value       string
	Used, Unset []string
}

// Expand is [Lexer.Word], with the variables that the word mentions.
func (l *Lexer) Expand(word string, vars Variables) (Expansion, error) {
	m := meter(word, vars)
	r, err := l.lex.ProcessWordWithMatches(word, m)
	return expansion(r), l.finish(word, m, err, len(r.Result))
}

func expansion(r shell.ProcessWordResult) Expansion {
	return Expansion{Value: r.Result, Used: slices.Sorted(maps.Keys(r.Matched)), Unset: slices.Sorted(maps.Keys(r.Unmatched))}
}

// Words expands a word that may become several, as those of EXPOSE do.
func (l *Lexer) Words(word string, vars Variables) ([]string, error) {
	m := meter(word, vars)
	out, err := l.lex.ProcessWords(word, m)
	size := 0
	for _, w := range out {
		size += len(w)
	}
	return out, l.finish(word, m, err, size)
}

// finish makes sure that a word's expansion is right and not too long.
func (l *Lexer) finish(word string, m *metered, err error, size int) error {
	if tooLong := m.check(word); tooLong != nil {
		return expansionError(word, tooLong)
	}
	if l.spent += size; err == nil && l.spent > maxExpansion {
		err = fmt.Errorf("the stage's words expand to more than %d bytes", maxExpansion)
	}
	return expansionError(word, err)
}

// Display expands the variables in a command line for showing it: quotes, escapes and what is unset stay as they are.
func (l *Lexer) Display(text string, vars Variables) string {
	m := meter(text, vars)
	if out, _, err := l.display.ProcessWord(text, m); err == nil && m.check(text) == nil && l.spent < maxExpansion {
		l.spent += len(out)
		return out
	}
	return text
}

// Heredoc expands the text of a heredoc of COPY or ADD. Quotes mean nothing there, and the escape character is a
// backslash whatever the file says.
func Heredoc(text string, vars Variables) (Expansion, error) {
	lex := shell.NewLex('\\')
	lex.SkipProcessQuotes = true
	m := meter(text, vars)
	r, err := lex.ProcessWordWithMatches(text, m)
	if tooLong := m.check(text); tooLong != nil {
		return Expansion{}, fmt.Errorf("expand heredoc: %w", tooLong)
	}
	if err != nil {
		return Expansion{}, fmt.Errorf("expand heredoc: %w", innermost(err))
	}
	return expansion(r), nil
}

// expansionError takes the lexer's own words off its error and puts ours on.
func expansionError(word string, err error) error {
	if err == nil {
		return nil
	}
	err = innermost(err)
	if strings.Contains(err.Error(), endOfWord) {
		err = errors.New("\"${\" has no \"}\"")
	}
	return fmt.Errorf("expand %q: %w", shortened(word), err)
}

// endOfWord is how the lexer shows the end of a word where it expected something else.
const endOfWord = "(\uFFFD)"

// shortened is the start of a word, for an error.
func shortened(word string) string {
	const most = 200
	if len(word) > most {
		return strings.ToValidUTF8(word[:most], "") + "…"
	}
	return word
}

func innermost(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}

// IsHeredoc reports whether a whole command line is one heredoc, such as "<<EOF".
func IsHeredoc(line string) bool { return parser.MustParseHeredoc(line) != nil }

// Chomp takes the leading tabs off each line, as "<<-" does.
func Chomp(text string) string { return parser.ChompHeredocContent(text) }
