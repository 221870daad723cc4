package progress

import (
	"fmt"
	"strings"
)

// findings are what build checks found, to be told in full at the end: what is told while a build goes on scrolls away.
type findings []*Finding

// lines are the findings with where they are, what the rule is for and where more is said of it.
func (f findings) lines() []string {
	if len(f) == 0 {
		return nil
	}
	title := fmt.Sprintf("%d warnings of build checks:", len(f))
	if len(f) == 1 {
		title = "1 warning of build checks:"
	}
	lines := []string{"", title}
	for _, x := range f {
		lines = append(lines, "", x.where()+": "+x.Rule+": "+x.Text)
		for line := range strings.Lines(x.Excerpt) {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
		for _, text := range []string{x.Description, x.URL} {
			if text != "" && text != x.Text {
				lines = append(lines, text)
			}
		}
	}
	for i, line := range lines {
		lines[i] = sanitize(line, dropColours)
	}
	return append(lines, "")
}

// where is "Dockerfile:3", with lines to where the instruction ends and the column of the word in question.
func (x *Finding) where() string {
	switch {
	case x.First == 0:
		return x.File
	case x.Column > 0:
		return fmt.Sprintf("%s:%d:%d", x.File, x.Line, x.Column)
	case x.Last > x.First:
		return fmt.Sprintf("%s:%d-%d", x.File, x.First, x.Last)
	}
	return fmt.Sprintf("%s:%d", x.File, x.First)
}
