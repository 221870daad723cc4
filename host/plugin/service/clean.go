package service

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text that a plugin or a server made fit to be shown on one line of a terminal: what is not valid UTF-8, and
// every character that moves the cursor, changes direction or cannot be seen, becomes U+FFFD. Tabs stay.
func Clean(text string) string {
	if !strings.ContainsFunc(text, isHarmful) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	for _, r := range text { // each invalid byte is a U+FFFD
		if isHarmful(r) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}

// OneLine is an error whose text is clean and on one line: what stands on a line of its own could pass for one of ours.
func OneLine(err error) error { return &lineError{oneLine(err.Error()), err} }

type lineError struct {
	text string
	err  error
}

// Error is the text.
func (e *lineError) Error() string { return e.text }

// Unwrap returns the error.
func (e *lineError) Unwrap() error { return e.err }

// oneLine is text with its lines one after the other, cleaned.
func oneLine(text string) string {
	lines := cleanLines(text)
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "; ")
}

// isHarmful is true for control characters (C0, C1), for those of format (direction, zero width, tags), for line and
// paragraph separators, and for what is unassigned or private: a terminal may give it a meaning.
func isHarmful(r rune) bool {
	switch {
	case r == '\t' || ' ' <= r && r <= '~':
		return false
	case !unicode.IsGraphic(r):
		return true
	}
	switch r {
	case 0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0: // letters and marks that nobody sees
		return true
	}
	return 0xE0100 <= r && r <= 0xE01EF // variation selectors: bytes can be hidden in them
}

// cleanLines splits text at line breaks and cleans the lines. Empty ones go.
func cleanLines(text string) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		if line = strings.TrimRight(line, "\r"); line != "" {
			lines = append(lines, Clean(line))
		}
	}
	return lines
}

// cutRunes shortens text to at most n bytes without splitting a character.
func cutRunes(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
