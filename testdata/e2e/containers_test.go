//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/trowel-build/trowel/bench/imagediff"
)

// testContainers has all that is about Trowel's own container image.
func (s *suite) testContainers(t *testing.T) {
	w := s.openWorkshop(t)
	t.Run("image", func(t *testing.T) { s.testImage(t, w) })
	t.Run("table", func(t *testing.T) { s.testTable(t, w) })
	t.Run("ci", func(t *testing.T) { s.testCI(t, w) })
}

// testTable holds containers/table.txtar: it builds each Dockerfile there in each environment.
func (s *suite) testTable(t *testing.T, w workshop) {
	table := loadTable(t, filepath.Join("containers", "table.txtar"))
	files := glob(t, "containers/*.txtar")
	if len(files) != len(table.rows)+1 {
		t.Errorf("%d files, and %d lines in the table", len(files)-1, len(table.rows))
	}
	for _, e := range table.environments {
		if err := errors.Join(os.Mkdir(filepath.Join(w.dir, e.name), 0o755), os.Chmod(filepath.Join(w.dir, e.name), 0o1777)); err != nil {
			t.Fatal(err)
		}
	}
	built := map[string]bool{}
	for _, r := range table.rows {
		if !r.tried() {
			continue // its cells say so
		}
		t.Run(r.name, func(t *testing.T) {
			b := s.newBuild(t, r.name, built)
			for i, e := range table.environments {
				if !r.cells[i].tried() {
					continue
				}
				want := table.endings[r.cells[i].word]
				t.Run(e.name, func(t *testing.T) {
					if want.works {
						b.works(t, w, e)
					} else {
						b.fails(t, w, e, want)
					}
				})
			}
		})
	}
}

// openWorkshop makes Trowel's image, unless $TROWEL_IMAGE is an archive with it, and has the engine pull it.
func (s *suite) openWorkshop(t *testing.T) workshop {
	t.Helper()
	subject, ok := s.subject.(trowel)
	if !ok {
		t.Skip("the image is Trowel's")
	}
	docker, err := s.docker()
	if err != nil {
		t.Fatal(err)
	}
	archive := os.Getenv("TROWEL_IMAGE")
	if archive == "" {
		if archive, err = s.lab.Image(t.Context(), imagePlatforms); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "workshop-") // others have to write there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "trowel") // where everybody may read it
	command(t, "install", "-m", "755", subject.binary, binary)
	w := workshop{docker: docker, image: s.registry.Address + "/trowel:debug", binary: binary, dir: dir}
	command(t, w.binary, "copy", "oci-archive://"+archive, w.image)
	if _, err := docker.Run(t.Context(), "pull", "-q", w.image); err != nil {
		t.Fatal(err)
	}
	return w
}

// build is a Dockerfile of the table.
type build struct {
	s      *suite
	c      testCase
	prints string           // under the engine; "" if it is not run there
	want   *imagediff.Image // BuildKit's
	since  time.Time
}

// newBuild has BuildKit make the image first, and the kits that it starts from, unless they are built.
func (s *suite) newBuild(t *testing.T, row string, built map[string]bool) *build {
	t.Helper()
	file := filepath.Join("containers", row+".txtar")
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, prints, found := strings.Cut(string(archive.Comment), "# prints: ")
	if found == bytes.Contains(archive.Comment, []byte("# not run: ")) {
		t.Fatalf("%s has to say what the image prints, or why it is not run", file)
	}
	for word, reference := range kits(t, s.debian) {
		if word != "@DEBIAN@" && !built[word] && bytes.Contains(txtar.Format(archive), []byte(word)) {
			s.buildKit(t, word, reference)
			built[word] = true
		}
	}
	b := &build{s: s, c: loadCase(t, file, s.debian), prints: prints, since: time.Now()}
	reference := s.reference("containers-"+row, "want")
	var log bytes.Buffer
	if err := s.oracle.build(t.Context(), b.c, reference, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if b.want, err = s.reader.Pull(t.Context(), reference); err != nil {
		t.Fatal(err)
	}
	return b
}

// run builds in an environment and returns what was said.
func (b *build) run(t *testing.T, w workshop, e environment) (reference, log string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	reference = b.s.reference("containers-"+b.c.name, e.name)
	start := time.Now()
	out, err := e.command(ctx, w, b.readable(t, w), reference).CombinedOutput()
	t.Logf("%.1f s", time.Since(start).Seconds())
	return reference, string(out), err
}

// readable is the context where every user may read it.
func (b *build) readable(t *testing.T, w workshop) string {
	t.Helper()
	dir := filepath.Join(w.dir, "context-"+b.c.name)
	if _, err := os.Stat(dir); err != nil {
		command(t, "cp", "-a", b.c.dir, dir)
	}
	return dir
}

// works wants an image that is BuildKit's and that runs.
func (b *build) works(t *testing.T, w workshop, e environment) {
	t.Helper()
	reference, log, err := b.run(t, w, e)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	got, err := b.s.reader.Pull(t.Context(), reference)
	if err != nil {
		t.Fatal(err)
	}
	if diff := imagediff.Diff(b.want, got, imagediff.Options{Since: b.since, Content: aptStamps()}); diff != "" {
		t.Errorf("not BuildKit's image: %s", diff)
	}
	for _, fault := range got.Faults {
		if !slices.Contains(b.want.Faults, fault) { // which has the base's
			t.Errorf("fault: %s", fault)
		}
	}
	b.engineRuns(t, w, reference)
	if t.Failed() {
		t.Logf("the build said:\n%s", log)
	}
}

// engineRuns wants that the image prints what it has to.
func (b *build) engineRuns(t *testing.T, w workshop, reference string) {
	t.Helper()
	if b.prints == "" {
		return
	}
	printed, err := w.docker.Run(t.Context(), "run", "--rm", "--network=none", reference)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.prints, printed); diff != "" {
		t.Errorf("what the container printed (-want +got):\n%s", diff)
	}
}

// fails wants the message, before the first step or of one, and no image.
func (b *build) fails(t *testing.T, w workshop, e environment, want ending) {
	t.Helper()
	reference, log, err := b.run(t, w, e)
	if err == nil || !strings.Contains(log, want.message) || strings.Contains(log, "#1 ") != want.ran {
		t.Fatalf("want it to fail with %q, after the first step started: %t: %v\n%s", want.message, want.ran, err, log)
	}
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Head(ref, remote.WithContext(t.Context())); err == nil {
		t.Errorf("%s was pushed", reference)
	}
}
