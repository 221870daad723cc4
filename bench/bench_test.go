package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// TestMain lets the test binary be the small process that measure starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == measureVerb {
		os.Exit(measureChild(os.Args[2:], os.Stderr))
	}
	os.Exit(m.Run())
}

func TestContexts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := makeContexts(t.Context(), dir, "127.0.0.1:5000"); err != nil {
		t.Fatal(err)
	}
	for _, c := range benchCases() {
		for _, name := range []string{c.context, c.prepare} {
			if name != "" {
				checkContext(t, filepath.Join(dir, name))
			}
		}
	}
	files := 0
	if err := filepath.WalkDir(filepath.Join(dir, "tree"), func(_ string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if files < 8000 {
		t.Errorf("the tree has %d files, want about 11,000", files)
	}
}

// checkContext checks that the Dockerfile of a context is one, and that what it copies is there.
func checkContext(t *testing.T, dir string) {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // only read
	parsed, err := parser.Parse(file)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	for _, stage := range stages {
		if stage.BaseName != "127.0.0.1:5000/library/debian:12" {
			t.Errorf("%s: a stage is from %q", dir, stage.BaseName)
		}
		for _, command := range stage.Commands {
			instruction, ok := command.(*instructions.CopyCommand)
			if !ok || instruction.From != "" {
				continue
			}
			for _, source := range instruction.SourcePaths {
				if _, err := os.Stat(filepath.Join(dir, source)); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		arguments []string
		want      string // of the error
	}{
		{"defaults", nil, ""},
		{"some cases", []string{"-cases", "steps,app", "-builders", "trowel"}, ""},
		{"unknown case", []string{"-cases", "step"}, `unknown name "step"`},
		{"unknown builder", []string{"-builders", "podman"}, `unknown name "podman"`},
		{"no rounds", []string{"-rounds", "0"}, "-rounds 0"},
		{"argument", []string{"steps"}, `unexpected argument "steps"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(append([]string{"-work", t.TempDir()}, test.arguments...), io.Discard)
			if got := errorText(err); (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("error %q, want %q", got, test.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestReport(t *testing.T) {
	t.Parallel()
	f := newFigures(options{rounds: 4, builders: []string{"trowel", "buildkit"}})
	f.CPUs, f.Architecture = 2, "amd64"
	for _, seconds := range []float64{4, 1, 2, 3} {
		f.add("copyonly", "trowel", sample{Seconds: seconds, usage: usage{PeakRSS: int64(seconds * 1e6)}})
		f.add("copyonly", "buildkit", sample{Seconds: seconds * 4})
		f.add("copyonly-known", "trowel", sample{Seconds: 0.5})
		f.add("copyonly-known", "buildkit", sample{Seconds: 1})
	}
	var out bytes.Buffer
	f.print(&out)
	want := `
Medians of 4 rounds in seconds; amd64, 2 CPUs.

            case  trowel  buildkit  trowel/buildkit  peak MB
        copyonly    2.50     10.00            0.250      4.0
  copyonly-known    0.50      1.00            0.500      0.0

copyonly with the base known to trowel, against BuildKit cold: 0.050
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	path := filepath.Join(t.TempDir(), "figures.json")
	if err := f.save(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got figures
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f, got, cmp.AllowUnexported(sample{})); diff != "" {
		t.Errorf("figures (-saved +read):\n%s", diff)
	}
}

// The peak is the command's own, small or large.
func TestMeasure(t *testing.T) {
	t.Parallel()
	ballast := make([]byte, 256<<20) // which is ours, and must not count
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	small, err := measure(t.Context(), io.Discard, "true")
	if err != nil {
		t.Fatal(err)
	}
	large, err := measure(t.Context(), io.Discard, "dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1")
	if err != nil {
		t.Fatal(err)
	}
	if small.PeakRSS < 100<<10 || small.PeakRSS > 64<<20 || large.PeakRSS < 100e6 || large.PeakRSS > 200e6 {
		t.Errorf("true used %d bytes, dd of 100 MiB %d", small.PeakRSS, large.PeakRSS)
	}
	if ballast[4096] != 1 {
		t.Error("the ballast is gone")
	}
	var log bytes.Buffer
	if _, err := measure(t.Context(), &log, "sh", "-c", "echo reason >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "reason") || log.String() != "reason\n" {
		t.Errorf("a failing command gives %v and logs %q", err, log.String())
	}
}
