package abi

import "time"

// appendTime appends a time as RFC 3339, whose years have four digits: later ones become the last second of those, and
// earlier ones the first.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	switch {
	case t.Year() > 9999:
		t = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	case t.Year() < 0:
		t = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

func decodeTime(d *decoder) time.Time {
	if d.null() {
		return time.Time{}
	}
	t, ok := parseTime(d.text())
	if !ok {
		d.fail("want a time as in RFC 3339")
	}
	return t
}

// parseTime reads 2006-01-02T15:04:05.999999999+07:00. Digits of a second beyond the ninth are dropped. [time.Parse]
// could do it, but is large, and would be in every plugin.
func parseTime(text []byte) (time.Time, bool) {
	const layout = "0000-00-00T00:00:00"
	n, ok := fields(text, layout)
	if !ok {
		return time.Time{}, false
	}
	text = text[len(layout):]
	nanos := 0
	if len(text) > 1 && text[0] == '.' {
		digits := 1
		for scale := 100_000_000; digits < len(text) && '0' <= text[digits] && text[digits] <= '9'; digits++ {
			nanos += int(text[digits]-'0') * scale
			scale /= 10
		}
		if digits == 1 {
			return time.Time{}, false
		}
		text = text[digits:]
	}
	offset, ok := parseOffset(text)
	t := time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], nanos, time.UTC)
	// Date turns the 30th of February into the 2nd of March.
	if _, month, day := t.Date(); !ok || int(month) != n[1] || day != n[2] || n[3] > 23 || n[4] > 59 || n[5] > 59 {
		return time.Time{}, false
	}
	t = t.Add(-offset)
	return t, 0 <= t.Year() && t.Year() <= 9999
}

// parseOffset reads Z or +hh:mm.
func parseOffset(text []byte) (time.Duration, bool) {
	if len(text) == 1 && text[0] == 'Z' {
		return 0, true
	}
	if len(text) != 6 || text[0] != '+' && text[0] != '-' {
		return 0, false
	}
	n, ok := fields(text[1:], "00:00")
	if !ok || n[0] > 23 || n[1] > 59 {
		return 0, false
	}
	offset := time.Duration(n[0])*time.Hour + time.Duration(n[1])*time.Minute
	if text[0] == '-' {
		offset = -offset
	}
	return offset, true
}

// fields reads the numbers at the start of text, whose digits are where layout has zeros; the rest must be alike.
func fields(text []byte, layout string) (n [6]int, ok bool) {
	if len(text) < len(layout) {
		return n, false
	}
	at := 0
	for i := range len(layout) {
		switch c := text[i]; {
		case layout[i] != '0' && c == layout[i]:
			at++
		case layout[i] == '0' && '0' <= c && c <= '9':
			n[at] = n[at]*10 + int(c-'0')
		default:
			return n, false
		}
	}
	return n, true
}
