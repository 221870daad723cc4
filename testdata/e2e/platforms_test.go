//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/trowel-build/trowel/bench/imagediff"
	"github.com/trowel-build/trowel/bench/lab"
)

const platformsDockerfile = `FROM --platform=$BUILDPLATFORM @BASE@ AS build
WORKDIR /w
ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDARCH BUILDVARIANT TARGETSTAGE
RUN echo "$TARGETPLATFORM|$TARGETOS|$TARGETARCH|$TARGETVARIANT|$BUILDPLATFORM|$BUILDARCH|$BUILDVARIANT|$TARGETSTAGE" > /for
FROM scratch
ARG TARGETARCH
COPY --from=build /for /for
COPY f /f
ENV ARCH=$TARGETARCH
WORKDIR /x
`

// testPlatforms has both builders make an image for several platforms: the index must list the same, with the same
// annotations, and each image must be the same. Times are clamped by both.
func (s *suite) testPlatforms(t *testing.T) {
	subject, ok := s.subject.(trowel)
	if !ok {
		t.Skip("the flags are Trowel's")
	}
	const (
		list = "linux/amd64,linux/arm64,linux/arm/v7"
		more = ",annotation-index.org.example.a=1,annotation-index-descriptor.org.example.d=4,annotation-manifest[linux/arm64].org.example.b=2" +
			",annotation-manifest-descriptor.org.example.c=3,rewrite-timestamp=true"
		epoch = "SOURCE_DATE_EPOCH=1600000000"
	)
	since := time.Now() // BuildKit makes the steps once for all variants
	for _, variant := range []struct{ name, attributes, platforms string }{
		{"oci", more, list},
		{"docker", ",oci-mediatypes=false", list},
		{"one", "", "linux/arm64"},
	} {
		t.Run(variant.name, func(t *testing.T) {
			write := func() string {
				dir := t.TempDir()
				mustWrite(t, filepath.Join(dir, "Dockerfile"), strings.ReplaceAll(platformsDockerfile, "@BASE@", s.debian), 0o644)
				mustWrite(t, filepath.Join(dir, "f"), "f", 0o644)
				at := time.Unix(1_500_000_000, 0)
				if err := os.Chtimes(filepath.Join(dir, "f"), at, at); err != nil {
					t.Fatal(err)
				}
				return dir
			}
			want, got := s.reference("platforms-"+variant.name, "want"), s.reference("platforms-"+variant.name, "got")
			var log bytes.Buffer
			output := "type=image,push=true,registry.insecure=true,name=" + want + variant.attributes
			if err := s.oracle.daemon.Export(t.Context(), write(), output, &log, "--opt=platform="+variant.platforms,
				"--opt=build-arg:"+epoch, "--opt=build-arg:BUILDKIT_MULTI_PLATFORM=1"); err != nil {
				t.Fatalf("%v\n%s", err, log.String())
			}
			cmd := exec.CommandContext(t.Context(), subject.binary, "build", "-q", "--no-local-cache", "--platform", variant.platforms,
				"-o", "type=registry,name="+got+variant.attributes, "--build-arg", epoch, "--build-arg", "BUILDKIT_MULTI_PLATFORM=1", write())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			s.compareIndexes(t, want, got, since)
		})
	}
}

// compareIndexes demands that two indexes list the same images.
func (s *suite) compareIndexes(t *testing.T, want, got string, since time.Time) {
	t.Helper()
	wanted, wantedManifest := pullIndex(t, want)
	gotten, gotManifest := pullIndex(t, got)
	outline := func(m *v1.IndexManifest) []v1.Descriptor {
		var out []v1.Descriptor
		for _, d := range m.Manifests {
			out = append(out, v1.Descriptor{MediaType: d.MediaType, Platform: d.Platform, Annotations: d.Annotations})
		}
		return append(out, v1.Descriptor{MediaType: m.MediaType, Annotations: m.Annotations})
	}
	if diff := cmp.Diff(outline(wantedManifest), outline(gotManifest)); diff != "" {
		t.Fatalf("the indexes differ (-BuildKit +Trowel):\n%s", diff)
	}
	for i, d := range wantedManifest.Manifests {
		read := func(index v1.ImageIndex, hash v1.Hash) *imagediff.Image {
			image, err := index.Image(hash)
			if err != nil {
				t.Fatal(err)
			}
			out, err := s.reader.Read(image)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		a, b := read(wanted, d.Digest), read(gotten, gotManifest.Manifests[i].Digest)
		if diff := imagediff.Diff(a, b, imagediff.Options{Since: since}); diff != "" {
			t.Errorf("%s:\n%s", d.Platform, diff)
		}
	}
}

func pullIndex(t *testing.T, reference string) (v1.ImageIndex, *v1.IndexManifest) {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return index, manifest
}

// testForeign runs a program for arm64: it fails before anything ran while no emulator is registered, and then it runs, for
// root and in a user namespace.
func (s *suite) testForeign(t *testing.T) {
	subject, ok := s.subject.(trowel)
	if !ok {
		t.Skip("the flags are Trowel's")
	}
	root, err := lab.SourceRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "foreign-") // others have to read it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	compile := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "sh"), "./cmd/trowel/testdata/shell")
	compile.Dir, compile.Env = root, append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	mustWrite(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\nCOPY sh /bin/sh\nRUN echo hello > /made\n", 0o644)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	build := func(user string) (string, error) {
		arguments := []string{subject.binary, "build", "--progress=plain", "--no-local-cache", "--platform=linux/arm64", "-o", "type=tar,dest=/dev/null", dir}
		if user != "" {
			arguments = append([]string{"setpriv", "--reuid=" + user, "--regid=" + user, "--clear-groups"}, arguments...)
		}
		cmd := exec.CommandContext(t.Context(), arguments[0], arguments[1:]...)
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := build(""); err == nil || !strings.Contains(out, "this machine runs no programs for arm64") || strings.Contains(out, "#1 ") {
		t.Fatalf("without an emulator: %v\n%s", err, out)
	}
	remove, err := s.lab.RegisterARM64(t.Context())
	if errors.Is(err, lab.ErrNoEmulators) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
	for _, user := range []string{"", "65534"} {
		if out, err := build(user); err != nil {
			t.Errorf("as user %q: %v\n%s", user, err, out)
		}
	}
}

func mustWrite(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
