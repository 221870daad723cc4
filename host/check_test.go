package host_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/trowel-build/trowel/host"
)

var update = flag.Bool("update", false, "write what is found as what is wanted")

// TestChecks runs the cases of testdata/checks, which the end-to-end tests give to BuildKit.
func TestChecks(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../testdata/checks/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			want := map[string]string{}
			for _, f := range archive.Files {
				if dockerfile, ok := strings.CutSuffix(f.Name, ".want"); ok {
					want[dockerfile] = string(f.Data)
				} else if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var out []txtar.File
			for _, f := range archive.Files {
				if strings.HasSuffix(f.Name, ".want") {
					continue
				}
				out = append(out, f)
				if strings.HasPrefix(f.Name, ".") {
					continue
				}
				got := checked(t, dir, f.Name, string(archive.Comment))
				if diff := cmp.Diff(want[f.Name], got); diff != "" && !*update {
					t.Errorf("%s (-want +got):\n%s", f.Name, diff)
				}
				out = append(out, txtar.File{Name: f.Name + ".want", Data: []byte(got)})
			}
			if *update {
				archive.Files = out
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// checked is what the checks find in a Dockerfile of dir: lines, rule, text; and that it cannot be built.
func checked(t *testing.T, dir, name, options string) string {
	t.Helper()
	r := host.Request{Context: dir, Dockerfile: filepath.Join(dir, name), BuildArgs: map[string]string{}}
	for line := range strings.Lines(options) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case name + ".build-arg":
			arg, value, _ := strings.Cut(value, "=")
			r.BuildArgs[arg] = value
		case name + ".target":
			r.Target = value
		}
	}
	c, err := host.Check(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range c.Findings {
		ranges := f.Location.Ranges
		lines := fmt.Sprint(ranges[0].Start.Line)
		if last := ranges[len(ranges)-1].End.Line; last != ranges[0].Start.Line {
			lines += fmt.Sprintf("-%d", last)
		}
		fmt.Fprintf(&b, "%s %s: %s\n", lines, f.Rule, f.Detail)
	}
	if c.Err != nil {
		b.WriteString("error\n")
	}
	return b.String()
}
