//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/trowel-build/trowel/bench/imagediff"
	"github.com/trowel-build/trowel/testdata/dockerfiles/corpus"
)

// kits are the images that projects start from, by what they are called there: "@GO@" is that of projects/kits/go.Dockerfile.
func kits(t *testing.T, debian string) corpus.Bases {
	t.Helper()
	registry, _, _ := strings.Cut(debian, "/")
	bases := corpus.Bases{"@DEBIAN@": debian}
	for _, file := range glob(t, "projects/kits/*.Dockerfile") {
		name := strings.TrimSuffix(filepath.Base(file), ".Dockerfile")
		bases["@"+strings.ToUpper(name)+"@"] = registry + "/e2e/kits:" + name
	}
	return bases
}

// testProjects builds projects as people have them. Each image has to be BuildKit's, and what it runs under a Docker engine
// has to print what the project's file says.
func (s *suite) testProjects(t *testing.T) {
	docker, err := s.docker()
	if err != nil {
		t.Fatal(err)
	}
	built := map[string]bool{}
	for _, file := range glob(t, "projects/*.txtar") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ctx := t.Context()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, want, found := strings.Cut(string(archive.Comment), "# prints: ")
			if !found {
				t.Fatalf("%s does not say what the image prints", file)
			}
			for word, reference := range kits(t, s.debian) {
				if word != "@DEBIAN@" && !built[word] && bytes.Contains(txtar.Format(archive), []byte(word)) {
					s.buildKit(t, word, reference)
					built[word] = true
				}
			}
			reference := s.compareImages(t, ctx, loadCase(t, file, s.debian), imagediff.Options{})
			got, err := docker.Run(ctx, "run", "--rm", "--network=none", reference)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what the container printed (-want +got):\n%s", diff)
			}
		})
	}
}

// buildKit has BuildKit make the image of a kit.
func (s *suite) buildKit(t *testing.T, word, reference string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("projects", "kits", strings.ToLower(strings.Trim(word, "@"))+".Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	c := testCase{dir: t.TempDir(), buildArgs: []string{"BASE=" + s.debian}}
	if err := os.WriteFile(filepath.Join(c.dir, "Dockerfile"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if err := s.oracle.build(t.Context(), c, reference, &log); err != nil {
		t.Fatalf("build the kit %s: %v\n%s", word, err, log.String())
	}
}
