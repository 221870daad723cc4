//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// syntax is what has BuildKit fetch a frontend, which then answers in its place.
var syntax = regexp.MustCompile(`(?mi)^#[ \t]*syntax[ \t]*=`)

// stricter are errors of a build that Trowel has for an outline, or a list of targets, where BuildKit does not look: see
// RATIONALE.md.
var stricter = regexp.MustCompile(`(ARG|STOPSIGNAL): unknown flag|--device is not supported|: ONBUILD: |: ADD: source "|\.dockerignore`)

// testChecks has BuildKit's frontend and Trowel lint, outline and list Dockerfiles, and demands the same text of both: those
// of the checks, of the corpus and of the scenarios.
func (s *suite) testChecks(t *testing.T) {
	if _, ok := s.subject.(trowel); !ok {
		t.Skip("only Trowel is asked what BuildKit is asked")
	}
	files := slices.Concat(glob(t, "../checks/*.txtar"), glob(t, "../dockerfiles/cases/*.txtar"),
		glob(t, "../script/*.txtar"), glob(t, "apt/*.txtar"))
	for _, name := range files {
		if strings.HasPrefix(filepath.Base(name), "plugin_") { // BuildKit has not their instructions
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range checkCases(t, archive, s.debian) {
				s.compareAnswers(t, "lint", c)
				s.compareAnswers(t, "outline", c)
				if !c.setsChecks { // BuildKit 0.34.2 ends with a panic
					s.compareAnswers(t, "targets", c)
				}
			}
		})
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return files
}

// placeholder is what cases have for an image: nothing is built here, so that any is as good.
var placeholder = regexp.MustCompile("@[A-Z]+@")

// checkCase is a Dockerfile to ask about.
type checkCase struct {
	dir, file  string
	buildArgs  []string
	target     string
	setsChecks bool
}

// checkCases unpacks an archive. Whatever has a FROM is taken for a Dockerfile, unless BuildKit had to fetch a frontend.
func checkCases(t *testing.T, archive *txtar.Archive, debian string) []checkCase {
	t.Helper()
	dir := t.TempDir()
	var cases []checkCase
	for _, f := range archive.Files {
		text := placeholder.ReplaceAllLiteralString(string(f.Data), debian)
		at := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f.Name, ".want") || syntax.MatchString(text) || !strings.Contains("\n"+strings.ToUpper(text), "\nFROM ") {
			continue
		}
		c := checkCase{dir: filepath.Dir(at), file: filepath.Base(at), setsChecks: strings.Contains(text, "# check=")}
		for line := range strings.Lines(string(archive.Comment)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch key {
			case c.file + ".build-arg", "build-arg":
				c.buildArgs = append(c.buildArgs, value)
			case c.file + ".target", "target":
				c.target = value
			}
		}
		cases = append(cases, c)
	}
	return cases
}

// compareAnswers demands the same answer of both, or that neither has one.
func (s *suite) compareAnswers(t *testing.T, request string, c checkCase) {
	t.Helper()
	var options, flags []string
	for _, a := range c.buildArgs {
		options, flags = append(options, "--opt=build-arg:"+a), append(flags, "--build-arg="+a)
	}
	if c.target != "" {
		options, flags = append(options, "--opt=target="+c.target), append(flags, "--target="+c.target)
	}
	want, failure := s.oracle.daemon.Ask(t.Context(), request, c.dir, c.file, options...)
	binary := s.subject.(trowel).binary
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"build", "--call=" + request, "-f", c.file, "."}, flags...)...)
	cmd.Dir = c.dir
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	if failed := new(exec.ExitError); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	got := out.String()
	if request == "lint" { // what the client adds
		if first, rest, found := strings.Cut(got, "\n"); found && strings.HasPrefix(first, "Check complete, ") {
			got = rest
		}
		if found := strings.Contains(want, "WARNING: "); found && err == nil {
			t.Errorf("--call=lint with findings in %s: exit code 0, want 1", c.file)
		}
	}
	if request != "lint" && failure == nil && err != nil && stricter.MatchString(log.String()) {
		return
	}
	if request != "lint" && (failure == nil) != (err == nil) {
		t.Errorf("%s of %s: BuildKit says %v, Trowel %v:\n%s", request, c.file, failure, err, log.String())
		return
	}
	if diff := cmp.Diff(inOrder(request, want), inOrder(request, got)); diff != "" {
		t.Errorf("%s of %s (-want +got):\n%s%s", request, c.file, diff, log.String())
	}
}

// inOrder puts the parts of a text in an order of their own: BuildKit sorts by line, and what has the same at random.
func inOrder(request, text string) []string {
	separator := "\n"
	if request == "lint" {
		separator = "\nWARNING: "
	}
	parts := strings.Split(text, separator)
	slices.Sort(parts)
	return parts
}
