package lower

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
)

// TestReplacedStage: a named context takes the place of a stage, instructions and all.
func TestReplacedStage(t *testing.T) {
	t.Parallel()
	all, p, err := lowerAll(t, given{text: "FROM a AS lib\nRUN x\nONBUILD RUN y\nFROM lib\nRUN z", contexts: []string{"lib"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(all[0].Steps) != 0 || p.Stages[0].Base != (effect.Location{Context: "lib"}) || len(all[1].Steps) != 1 {
		t.Errorf("got %d steps on %+v, then %d steps", len(all[0].Steps), p.Stages[0].Base, len(all[1].Steps))
	}
}

// TestStepsKeepTheirConfig: what a later step changes must not show in an earlier one's config, nor in the base's.
func TestStepsKeepTheirConfig(t *testing.T) {
	t.Parallel()
	lines := []string{"ENV A=1", "LABEL a=1", "EXPOSE 1", "VOLUME /1", "ONBUILD RUN 1", "SHELL [\"1\"]", "CMD 1", "HEALTHCHECK CMD 1", "USER 1", "ENTRYPOINT 1"}
	first := "FROM a AS b\n" + strings.Join(lines, "\n")
	more := strings.ReplaceAll(strings.Join(lines, "\n"), "1", "2")
	alone := lowerLast(t, given{text: first})
	below := lowerLast(t, given{text: first + "\n" + more})
	above, _, err := lowerAll(t, given{text: first + "\nFROM b\n" + more})
	if err != nil {
		t.Fatal(err)
	}
	for i := range alone.Steps {
		if diff := cmp.Diff(alone.Steps[i].Config, below.Steps[i].Config); diff != "" {
			t.Errorf("step %d alone, and with others after it (-alone +with):\n%s", i, diff)
		}
	}
	if diff := cmp.Diff(alone.State.Config, above[0].State.Config); diff != "" {
		t.Errorf("the stage, and with another on it (-alone +with):\n%s", diff)
	}
}

// FuzzStage lowers any file: errors have a place, and paths are absolute and clean.
func FuzzStage(f *testing.F) {
	files, err := filepath.Glob("testdata/*.dockerfile")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "A", "b")
	}
	f.Fuzz(func(t *testing.T, text, name, value string) {
		eachEffect(t, given{text: text, buildArgs: map[string]string{"_" + name: value}}, checkPaths)
	})
}

// eachEffect has all effects of a Dockerfile checked, or else its error.
func eachEffect(t *testing.T, g given, check func(*testing.T, effect.Effect)) {
	t.Helper()
	all, _, err := lowerAll(t, g)
	if err != nil {
		if e, ok := errors.AsType[*dockerfile.Error](err); !ok || e.File == "" || e.Err == nil {
			t.Fatalf("error %v is no *dockerfile.Error", err)
		}
		return
	}
	for _, l := range all {
		for _, step := range l.Steps {
			for _, e := range step.Effects {
				check(t, e)
			}
		}
	}
}

func checkPaths(t *testing.T, e effect.Effect) {
	t.Helper()
	absolute := func(p string) {
		if !path.IsAbs(p) || path.Clean(p) != p && path.Clean(p)+"/" != p {
			t.Errorf("%+v: path %q", e, p)
		}
	}
	switch e := e.(type) {
	case effect.Exec:
		absolute(e.Dir)
		for _, s := range e.Scripts {
			if strings.Contains(s.Name, "/") || s.Name == "" || s.Name == ".." {
				t.Errorf("script %q", s.Name)
			}
		}
	case effect.Mkdir:
		absolute(e.Path)
	case effect.Copy:
		absolute(e.Dest)
		for _, s := range e.Sources {
			for _, p := range s.Paths {
				if path.IsAbs(p) || p == "" || p == ".." || strings.HasPrefix(p, "../") || strings.Contains(p, "/../") {
					t.Errorf("source %q", p)
				}
			}
			for _, i := range s.Inline {
				if strings.Contains(i.Name, "/") || i.Name == "" || i.Name == ".." {
					t.Errorf("inline file %q", i.Name)
				}
			}
		}
	}
}
