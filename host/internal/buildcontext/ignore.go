package buildcontext

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/trowel-build/trowel/host/internal/filecopy/pattern"
)

// ignoreName is the ignore file of a context's root.
const ignoreName = ".dockerignore"

// ignoreFile is a parsed ignore file. Its zero value ignores nothing.
type ignoreFile struct {
	name  string // for messages
	rules []rule
}

// rule is one line of an ignore file.
type rule struct {
	line    int
	pattern string // clean, without "!"
	negated bool
}

func (r rule) String() string {
	if r.negated {
		return "!" + r.pattern
	}
	return r.pattern
}

// findIgnoreFile reads the first ignore file there is; see [Options.IgnoreFile].
func (c *Context) findIgnoreFile(named string) (*ignoreFile, error) {
	if named != "" {
		file, err := filepath.Abs(named)
		if err != nil {
			return nil, fmt.Errorf("find the ignore file %q: %w", named, err)
		}
		df := definition{path: file}
		if rel, ok := c.relative(file); ok {
			df.inside = rel
		}
		content, err := c.read(df, "")
		if err != nil {
			return nil, fmt.Errorf("read the ignore file %q: %w", named, err)
		}
		return parseIgnoreFile(named, content)
	}
	if df := c.dockerfile; df.shown != "" {
		content, err := c.read(df, ignoreName)
		if err == nil {
			return parseIgnoreFile(df.shown+ignoreName, content)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the ignore file %q: %w", df.shown+ignoreName, err)
		}
	}
	content, err := c.read(definition{inside: ignoreName}, "")
	if errors.Is(err, fs.ErrNotExist) {
		return &ignoreFile{}, nil
	}
	name := filepath.Join(c.dir, ignoreName)
	if err != nil {
		return nil, fmt.Errorf("read the ignore file %q: %w", name, err)
	}
	return parseIgnoreFile(name, content)
}

// parseIgnoreFile parses and checks an ignore file.
func parseIgnoreFile(name string, content []byte) (*ignoreFile, error) {
	f := &ignoreFile{name: name}
	line := 0
	for text := range bytes.Lines(content) {
		line++
		if line > 1 {
			// The parser drops a byte order mark from its first line, and gets each line on its own.
			text = append([]byte("\n"), text...)
		}
		patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		for _, p := range patterns {
			r := rule{line: line, pattern: p}
			r.pattern, r.negated = strings.CutPrefix(p, "!")
			if err := r.check(); err != nil {
				return nil, fmt.Errorf("%s:%d: bad pattern %q: %w", name, line, p, err)
			}
			f.rules = append(f.rules, r)
		}
	}
	return f, nil
}

// check compiles the pattern, which the matcher would do at the first file only.
func (r rule) check() error {
	if r.pattern == "" {
		return errors.New("nothing follows the \"!\"")
	}
	m, err := r.matcher()
	if err != nil {
		return err
	}
	_, err = m.MatchesOrParentMatches("x")
	return err
}

// matcher matches the rule's pattern alone.
func (r rule) matcher() (*patternmatcher.PatternMatcher, error) {
	if strings.HasPrefix(r.pattern, "!") {
		return patternmatcher.New([]string{`\` + r.pattern}) // "!!x" names the file "!x"
	}
	return patternmatcher.New([]string{r.pattern})
}

// matcher makes a matcher, which is for one goroutine; nil if nothing is ignored.
func (f *ignoreFile) matcher() (*patternmatcher.PatternMatcher, error) {
	if len(f.rules) == 0 {
		return nil, nil
	}
	patterns := make([]string, len(f.rules))
	for i, r := range f.rules {
		patterns[i] = r.String()
	}
	return patternmatcher.New(patterns)
}

// decisive finds the rule that decides about a path: the last that matches it or a directory above it.
func (f *ignoreFile) decisive(p string) (rule, bool) {
	for i := len(f.rules) - 1; i >= 0; i-- {
		m, err := f.rules[i].matcher()
		if err != nil {
			continue
		}
		if ok, err := m.MatchesOrParentMatches(p); err == nil && ok {
			return f.rules[i], true
		}
	}
	return rule{}, false
}

// mayHoldExceptions says whether a "!" rule could match something below an ignored directory.
func (f *ignoreFile) mayHoldExceptions(dir string) bool {
	for _, r := range f.rules {
		if r.negated && pattern.Reaches(r.pattern, dir) {
			return true
		}
	}
	return false
}

// where says where a rule is, for messages.
func (f *ignoreFile) where(r rule) string {
	name := f.name
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, name); err == nil && filepath.IsLocal(rel) {
			name = rel
		}
	}
	return fmt.Sprintf("%s line %d (%s)", name, r.line, r)
}

// Hides says whether the ignore file certainly hides a source of COPY, as BuildKit's build check has it: it does not judge a
// file with exceptions, and takes the context itself for hidden only if a pattern names all that is in it.
func (c *Context) Hides(source string) bool {
	m, err := c.ignore.matcher()
	if m == nil || err != nil || m.Exclusions() {
		return false
	}
	all := func(r rule) bool { return slices.Contains([]string{"*", "**", "**/*"}, r.pattern) }
	if (source == "." || source == "/") && !slices.ContainsFunc(c.ignore.rules, all) {
		return false
	}
	hidden, err := m.MatchesOrParentMatches(source)
	return hidden && err == nil
}
