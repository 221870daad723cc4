package progress

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxLine bounds what is kept of a line that does not end; longer ones are cut into several.
const maxLine = 16 << 10

// lineBuffer gathers the output of one stream of a step into lines. A carriage return ends a line as well: what
// follows would overwrite it, and a progress bar is best shown by its newest state.
type lineBuffer struct {
	partial []byte
	afterCR bool // the newline of a "\r\n" ends nothing more
}

// add takes output and calls emit for each line that ended in it.
func (b *lineBuffer) add(output []byte, emit func(string)) {
	for len(output) > 0 {
		if b.afterCR && output[0] == '\n' {
			output, b.afterCR = output[1:], false
			continue
		}
		b.afterCR = false
		end := bytes.IndexAny(output, "\r\n")
		if end < 0 {
			b.keep(output, emit)
			return
		}
		b.keep(output[:end], emit)
		emit(string(b.partial))
		b.partial = b.partial[:0]
		b.afterCR = output[end] == '\r'
		output = output[end+1:]
	}
}

func (b *lineBuffer) keep(output []byte, emit func(string)) {
	for len(b.partial)+len(output) > maxLine {
		room := maxLine - len(b.partial)
		b.partial = append(b.partial, output[:room]...)
		cut := wholeRunes(b.partial)
		emit(string(b.partial[:cut]))
		b.partial = append(b.partial[:0], b.partial[cut:]...)
		output = output[room:]
	}
	b.partial = append(b.partial, output...)
}

// flush emits the line that has not ended, if there is one.
func (b *lineBuffer) flush(emit func(string)) {
	if len(b.partial) > 0 {
		emit(string(b.partial))
		b.partial = b.partial[:0]
	}
}

// wholeRunes returns how many bytes of b end at the boundary of a rune.
func wholeRunes(b []byte) int {
	for back := 1; back <= utf8.UTFMax && back < len(b); back++ {
		if r := b[len(b)-back]; utf8.RuneStart(r) {
			if !utf8.FullRune(b[len(b)-back:]) {
				return len(b) - back
			}
			break
		}
	}
	return len(b)
}

// colours says what becomes of the escape sequences that set colours.
type colours string

const (
	keepColours colours = "keep"
	dropColours colours = "drop"
)

// sanitize returns text without anything a terminal acts upon: tabs stay, escape sequences and control characters
// become U+FFFD, and colours are kept or dropped. Output of a RUN, names from a Dockerfile and errors from a registry
// are untrusted, and a terminal obeys what it reads.
func sanitize(text string, colours colours) string {
	if !strings.ContainsFunc(text, unsafeRune) && utf8.ValidString(text) {
		return text
	}
	var out strings.Builder
	coloured := false
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == '\x1b':
			size = escapeLength(text[i:])
			if sequence := text[i : i+size]; !setsColour(sequence) {
				out.WriteRune(utf8.RuneError)
			} else if colours == keepColours {
				out.WriteString(sequence)
				coloured = true
			}
		case unsafeRune(r):
			out.WriteRune(utf8.RuneError)
		default:
			out.WriteRune(r)
		}
		i += size
	}
	if coloured { // a colour left on would dye the lines of other steps
		out.WriteString("\x1b[0m")
	}
	return out.String()
}

// oneLine is sanitize, without colours, for a name, which may come from a RUN with a heredoc.
func oneLine(text string) string {
	return sanitize(strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), " "), dropColours)
}

// unsafeRune reports control characters, C0 and C1, and the bidirectional controls, which make a line read
// differently from what it says.
func unsafeRune(r rune) bool {
	switch {
	case r == '\t':
		return false
	case unicode.IsControl(r), r == '\u2028', r == '\u2029':
		return true
	case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', r == '\u200e', r == '\u200f':
		return true
	}
	return false
}

// escapeLength returns the length of the escape sequence that text begins with, in the forms of ECMA-48.
func escapeLength(text string) int {
	if len(text) < 2 {
		return len(text)
	}
	switch kind := text[1]; kind {
	case '[': // parameters and intermediates, then one final byte
		end := 2
		for end < len(text) && text[end] >= 0x20 && text[end] <= 0x3f {
			end++
		}
		if end < len(text) && text[end] >= 0x40 && text[end] <= 0x7e {
			end++
		}
		return end
	case ']', 'P', 'X', '^', '_': // a string, ended by BEL or ST
		for end := 2; end < len(text); end++ {
			if text[end] == '\a' {
				return end + 1
			}
			if text[end] == '\x1b' {
				if end+1 < len(text) && text[end+1] == '\\' {
					end++
				} else {
					return end // the next sequence began
				}
				return end + 1
			}
		}
		return len(text)
	default:
		if kind >= utf8.RuneSelf || kind == '\x1b' {
			return 1
		}
		return 2
	}
}

// setsColour reports whether the escape sequence is an SGR sequence.
func setsColour(sequence string) bool {
	parameters, ok := strings.CutPrefix(sequence, "\x1b[")
	if !ok || !strings.HasSuffix(parameters, "m") {
		return false
	}
	return strings.Trim(strings.TrimSuffix(parameters, "m"), "0123456789;:") == ""
}

// formatBytes returns n in decimal units, as docker does.
func formatBytes(n int64) string {
	units := []string{"kB", "MB", "GB", "TB", "PB", "EB"}
	if n < 1000 {
		return fmt.Sprintf("%dB", n)
	}
	value, unit := float64(n)/1000, 0
	for value >= 999.95 && unit < len(units)-1 {
		value, unit = value/1000, unit+1
	}
	return fmt.Sprintf("%.1f%s", value, units[unit])
}

// formatRate returns bytes in a duration as a rate, or nothing if it was too short to tell.
func formatRate(n int64, d time.Duration) string {
	if n <= 0 || d < time.Millisecond {
		return ""
	}
	return formatBytes(int64(float64(n)/d.Seconds())) + "/s"
}

// formatSeconds returns d as seconds with one digit, or minutes when they are many.
func formatSeconds(d time.Duration) string {
	d = max(d, 0)
	if d < 10*time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}
