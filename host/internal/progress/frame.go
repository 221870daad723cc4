package progress

import (
	"fmt"
	"strings"
	"unicode"
)

// frameLine is a line of the live view.
type frameLine struct {
	style string // SGR numbers
	text  string
}

// draw returns the lines that show what runs, at most rows of them and none wider than the screen. Every step and
// transfer has its line first; what is left goes to the output of the steps, evenly.
func (v *tty) draw(columns, rows int) []frameLine {
	if len(v.running) == 0 || rows <= 0 {
		return nil
	}
	shown, hidden := v.running, 0
	if len(shown) > rows {
		shown = shown[:rows-1]
		hidden = len(v.running) - len(shown)
	}
	room := rows - len(shown)
	if hidden > 0 {
		room = 0
	}
	share := shareOut(shown, room)
	var lines []frameLine
	for i, item := range shown {
		lines = append(lines, frameLine{text: fit(v.headline(item, columns), columns)})
		for _, line := range item.tail[len(item.tail)-share[i]:] {
			lines = append(lines, frameLine{style: "2", text: fit("          | "+line, columns)})
		}
	}
	if hidden > 0 {
		lines = append(lines, frameLine{style: "2", text: fit(fmt.Sprintf("          … and %d more", hidden), columns)})
	}
	return lines
}

// shareOut returns how many lines of output each item may show.
func shareOut(items []*ttyItem, room int) []int {
	share := make([]int, len(items))
	for given := true; given && room > 0; {
		given = false
		for i, item := range items {
			if room > 0 && share[i] < min(tailLines, len(item.tail)) {
				share[i]++
				room--
				given = true
			}
		}
	}
	return share
}

// headline returns the line of a running item, its bar included.
func (v *tty) headline(item *ttyItem, columns int) string {
	elapsed := v.now().Sub(item.started)
	line := fmt.Sprintf("%9s ", formatSeconds(elapsed))
	if !item.transfer {
		return line + item.name
	}
	amount := formatBytes(item.current)
	if item.total > 0 {
		amount += " / " + formatBytes(item.total)
	}
	if rate := formatRate(item.current, elapsed); rate != "" {
		amount += " " + rate
	}
	bar := ""
	if item.total > 0 && columns >= defaultWidth {
		full := int(float64(barWidth) * min(1, float64(item.current)/float64(item.total)))
		full = max(full, 0)
		bar = "[" + strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full) + "] "
	}
	// The figures stay in sight when the name is long.
	name := fit(item.name, max(10, columns-textWidth(line)-textWidth(bar)-textWidth(amount)-2))
	return line + name + " " + bar + amount
}

// fit cuts text to fewer than columns, so that the last column, where terminals differ, stays empty.
func fit(text string, columns int) string {
	limit := columns - 1
	if textWidth(text) <= limit {
		return text
	}
	if limit < 1 {
		return ""
	}
	width := 0
	for i, r := range text {
		width += runeWidth(r)
		if width > limit-1 {
			return text[:i] + "…"
		}
	}
	return text
}

// textWidth returns how many columns text takes.
func textWidth(text string) int {
	width := 0
	for _, r := range text {
		width += runeWidth(r)
	}
	return width
}

// wide are the blocks whose characters take two columns: the wide and full-width ones of Unicode annex 11, roughly.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115f, Stride: 1},
		{Lo: 0x2e80, Hi: 0xa4cf, Stride: 1},
		{Lo: 0xac00, Hi: 0xd7a3, Stride: 1},
		{Lo: 0xf900, Hi: 0xfaff, Stride: 1},
		{Lo: 0xfe30, Hi: 0xfe6f, Stride: 1},
		{Lo: 0xff00, Hi: 0xff60, Stride: 1},
		{Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{{Lo: 0x1f300, Hi: 0x1faff, Stride: 1}, {Lo: 0x20000, Hi: 0x3fffd, Stride: 1}},
}

func runeWidth(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}
