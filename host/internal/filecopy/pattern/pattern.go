// Package pattern answers questions about the wildcards of COPY and of ignore files without matching them.
package pattern

import (
	"path"
	"strings"
)

// HasWildcard says whether a pattern is more than a name.
func HasWildcard(p string) bool {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}

// Unescape is the name that a pattern without wildcards means.
func Unescape(p string) string {
	if !strings.Contains(p, `\`) {
		return p
	}
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] == '\\' && i+1 < len(p) {
			i++
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// Reaches says whether a pattern could match the path dir, something above it or something below it. It may say so where
// no path would, never the reverse.
func Reaches(p, dir string) bool {
	elements := strings.Split(p, "/")
	i := 0
	for name := range strings.SplitSeq(dir, "/") {
		if i == len(elements) || strings.Contains(elements[i], "**") {
			return true
		}
		if ok, err := path.Match(elements[i], name); err == nil && !ok {
			return false
		}
		i++
	}
	return true
}

// Escape is a pattern that matches nothing but a name.
func Escape(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}
