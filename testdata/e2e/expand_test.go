//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/trowel-build/trowel/bench/imagediff"
	"github.com/trowel-build/trowel/bench/lab"
)

// testExpand builds a Dockerfile with instructions of plugins, has it written out in the Dockerfile language, and has BuildKit
// build that: the image must be the same but for the number of its layers.
func (s *suite) testExpand(t *testing.T) {
	subject, ok := s.subject.(trowel)
	if !ok {
		t.Skip("only Trowel has plugins")
	}
	root, err := lab.SourceRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	archive, err := txtar.ParseFile(filepath.Join("expand", "expand.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		name := filepath.Join(dir, f.Name)
		content := bytes.ReplaceAll(f.Data, []byte("@BASE@"), []byte(s.debian))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(in string, env []string, name string, arguments ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, arguments...)
		cmd.Dir, cmd.Env = in, append(os.Environ(), env...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("run %s %q: %v\n%s", name, arguments, err, stderr.String())
		}
		return out
	}
	run(root, []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}, "go", "build", "-buildmode=c-shared", "-o", filepath.Join(dir, "steps.wasm"), "./cmd/trowel/testdata/plugins/steps")
	since := time.Now()
	got, want := s.reference("expand", "got"), s.reference("expand", "want")
	run(dir, nil, subject.binary, "build", "-q", "-t", got, "--push", "--cache-dir", subject.cache, "ctx")
	plain := run(dir, nil, subject.binary, "expand", "--cache-dir", subject.cache, "ctx")
	if err := os.WriteFile(filepath.Join(dir, "ctx", "Dockerfile"), plain, 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if err := s.oracle.build(t.Context(), testCase{dir: filepath.Join(dir, "ctx")}, want, &log); err != nil {
		t.Fatalf("build what was written out: %v\n%s\n%s", err, plain, log.String())
	}
	ours, err := s.reader.Pull(t.Context(), got)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := s.reader.Pull(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	ours.History, ours.Layers, ours.MediaTypes = theirs.History, theirs.Layers, theirs.MediaTypes
	if diff := imagediff.Diff(theirs, ours, imagediff.Options{Since: since}); diff != "" {
		t.Errorf("%s\nwritten out:\n%s", diff, plain)
	}
}
