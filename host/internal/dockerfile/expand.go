package dockerfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"

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
}

// Lexer returns a new lexer with the file's escape character.
func (f *File) Lexer() *Lexer {
	display := shell.NewLex(f.Escape)
	display.RawQuotes, display.RawEscapes, display.SkipUnsetEnv = true, true, true
	return &Lexer{lex: shell.NewLex(f.Escape), display: display}
}

// Word expands a word and removes its quotes.
func (l *Lexer) Word(word string, vars Variables) (string, error) {
	out, _, err := l.lex.ProcessWord(word, vars)
	return out, expansionError(word, err)
}

// WordUnset is [Lexer.Word], with the names that the word mentions and vars does not have.
func (l *Lexer) WordUnset(word string, vars Variables) (string, []string, error) {
	out, unset, err := l.lex.ProcessWord(word, vars)
	return out, slices.Sorted(maps.Keys(unset)), expansionError(word, err)
}

// Words expands a word that may become several, as those of EXPOSE do.
func (l *Lexer) Words(word string, vars Variables) ([]string, error) {
	out, err := l.lex.ProcessWords(word, vars)
	return out, expansionError(word, err)
}

// Display expands the variables in a command line for showing it: quotes, escapes and what is unset stay as they are.
func (l *Lexer) Display(text string, vars Variables) string {
	if out, _, err := l.display.ProcessWord(text, vars); err == nil {
		return out
	}
	return text
}

// Heredoc expands the text of a heredoc of COPY or ADD. Quotes mean nothing there, and the escape character is a
// backslash whatever the file says.
func Heredoc(text string, vars Variables) (string, error) {
	lex := shell.NewLex('\\')
	lex.SkipProcessQuotes = true
	out, _, err := lex.ProcessWord(text, vars)
	if err != nil {
		return "", fmt.Errorf("expand heredoc: %w", innermost(err))
	}
	return out, nil
}

// expansionError takes the lexer's own words off its error and puts ours on.
func expansionError(word string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("expand %q: %w", word, innermost(err))
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
