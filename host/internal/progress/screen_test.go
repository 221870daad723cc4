package progress

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// screen is a terminal of the size it is told, as far as the live view uses one. Anything else it is sent fails
// the test.
type screen struct {
	t *testing.T

	mu            sync.Mutex
	columns, rows int
	lines         []string // all there ever were; the last rows of them are in sight
	row, column   int      // row counts from the first line
	noWrap        bool
	hidden        bool
	writes        int
}

func newScreen(t *testing.T, columns, rows int) *screen {
	return &screen{t: t, columns: columns, rows: rows, lines: []string{""}}
}

func (s *screen) size() (int, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.columns, s.rows, nil
}

// narrow makes the screen narrower and wraps what stands on it, as terminals do. The cursor stays below.
func (s *screen) narrow(columns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.columns = columns
	var lines []string
	for _, line := range s.lines[:len(s.lines)-1] {
		runes := []rune(line)
		for len(runes) > columns {
			lines = append(lines, string(runes[:columns]))
			runes = runes[columns:]
		}
		lines = append(lines, string(runes))
	}
	s.lines = append(lines, "")
	s.row, s.column = len(s.lines)-1, 0
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	for text := string(p); text != ""; {
		if text[0] == '\x1b' {
			size := escapeLength(text)
			s.escape(text[:size])
			text = text[size:]
			continue
		}
		r := []rune(text)[0]
		s.put(r)
		text = text[len(string(r)):]
	}
	return len(p), nil
}

func (s *screen) put(r rune) {
	switch r {
	case '\r':
		s.column = 0
		return
	case '\n':
		s.row, s.column = s.row+1, 0
		for len(s.lines) <= s.row {
			s.lines = append(s.lines, "")
		}
		return
	}
	if s.column >= s.columns {
		if s.noWrap {
			return
		}
		s.put('\n')
	}
	line := []rune(s.lines[s.row])
	for len(line) <= s.column {
		line = append(line, ' ')
	}
	line[s.column] = r
	s.lines[s.row] = string(line)
	s.column++
}

func (s *screen) escape(sequence string) {
	switch sequence {
	case "\x1b[?7l", "\x1b[?7h":
		s.noWrap = sequence == "\x1b[?7l"
		return
	case "\x1b[?25l", "\x1b[?25h":
		s.hidden = sequence == "\x1b[?25l"
		return
	case "\x1b[J":
		s.lines = append(s.lines[:s.row], string([]rune(s.lines[s.row])[:min(s.column, len([]rune(s.lines[s.row])))]))
		return
	}
	if setsColour(sequence) {
		return
	}
	var up int
	if _, err := fmt.Sscanf(sequence, "\x1b[%dA", &up); err != nil {
		s.t.Errorf("the terminal was sent %s", strconv.Quote(sequence))
		return
	}
	if top := max(0, len(s.lines)-s.rows); s.row-up < top {
		s.t.Errorf("the cursor was moved %d rows up from row %d, above the screen", up, s.row-top)
	}
	s.row = max(0, s.row-up)
}
