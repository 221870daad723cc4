// Package lesson makes tests of the directories in examples: it copies one, and reads out of its README the commands that a
// reader is told to run.
package lesson

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Lesson is a copy of an example, in what looks like a clone of the repository.
type Lesson struct {
	Dir string // where its commands are run
	// Script is its commands, for sh -e.
	Script string
}

// Open copies the example of that name, in the repository at root, into the directory into. Pairs of old and new text are
// replaced in its files: the addresses that a README has are nobody's.
func Open(root, name, into string, pairs ...string) (Lesson, error) {
	l := Lesson{Dir: filepath.Join(into, "examples", name)}
	replace := strings.NewReplacer(pairs...)
	if err := copyTree(filepath.Join(root, "examples", name), l.Dir, replace); err != nil {
		return l, fmt.Errorf("copy example %q: %w", name, err)
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err == nil {
			err = os.WriteFile(filepath.Join(into, file), text, 0o644)
		}
		if err != nil {
			return l, err
		}
	}
	if err := os.Symlink(filepath.Join(root, "sdk"), filepath.Join(into, "sdk")); err != nil && !errors.Is(err, fs.ErrExist) {
		return l, err
	}
	readme, err := os.ReadFile(filepath.Join(l.Dir, "README.md"))
	if err != nil {
		return l, err
	}
	l.Script, err = Commands(string(readme))
	return l, err
}

// Commands are the lines of all blocks of shell in a README.
func Commands(readme string) (string, error) {
	var script strings.Builder
	for _, block := range strings.Split(readme, "```sh\n")[1:] {
		block, _, closed := strings.Cut(block, "```")
		if !closed {
			return "", errors.New("a block of shell in the README has no end")
		}
		script.WriteString(block)
	}
	if script.Len() == 0 {
		return "", errors.New("the README has no block of shell")
	}
	return script.String(), nil
}

// copyTree copies what is a file of text; programs that somebody compiled there are left behind.
func copyTree(from, to string, replace *strings.Replacer) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "out" || d.Name() == "node_modules" || d.Name() == "store.d") {
			return fs.SkipDir
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, below), 0o755)
		}
		text, err := os.ReadFile(path)
		if err != nil || !utf8.Valid(text) {
			return err
		}
		return os.WriteFile(filepath.Join(to, below), []byte(replace.Replace(string(text))), 0o644)
	})
}
