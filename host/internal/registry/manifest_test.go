package registry

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestManifest(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		raw, contentType string
		want             string
		wantError        string
	}{
		"image":             {imageJSON, "application/vnd.oci.image.manifest.v1+json", ocispec.MediaTypeImageManifest, ""},
		"index":             {indexJSON, "application/vnd.oci.image.index.v1+json; charset=utf-8", ocispec.MediaTypeImageIndex, ""},
		"docker list":       {indexJSON, "application/vnd.docker.distribution.manifest.list.v2+json", mediaTypeDockerIndex, ""},
		"docker image":      {`{"schemaVersion":2,"config":{},"layers":[]}`, "application/vnd.docker.distribution.manifest.v2+json", mediaTypeDockerManifest, ""},
		"untyped index":     {indexJSON, "text/plain", ocispec.MediaTypeImageIndex, ""},
		"schema 1":          {schema1JSON, "application/vnd.docker.distribution.manifest.v1+prettyjws", "", "schema 1 format"},
		"schema 1, hidden":  {schema1JSON, "application/json", "", "schema 1 format"},
		"both":              {`{"schemaVersion":2,"manifests":[],"layers":[]}`, "application/json", "", "neither that of an image nor an index, or both"},
		"neither":           {`{"schemaVersion":2}`, "application/json", "", "neither that of an image nor an index, or both"},
		"disagreement":      {imageJSON, "application/vnd.docker.distribution.manifest.v2+json", "", "the registry calls it"},
		"index as an image": {indexJSON, "application/vnd.oci.image.manifest.v1+json", "", "does not fit its media type"},
		"not JSON":          {"<html>", "text/html", "", "not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newTestRegistry(t)
			server.manifests["app@1"] = storedManifest{mediaType: test.contentType, raw: []byte(test.raw)}
			client := newTestClient(t, Options{})
			ref := server.repository("app").Tagged("1")
			descriptor, raw, err := client.Manifest(t.Context(), ref)
			resolved, resolveErr := client.Resolve(t.Context(), ref)
			if test.wantError != "" {
				if err == nil || resolveErr == nil && test.want == "" && name != "index as an image" && name != "disagreement" {
					t.Errorf("Manifest: %v, Resolve: %v", err, resolveErr)
				}
				if err != nil && (!strings.Contains(err.Error(), test.wantError) || !strings.Contains(err.Error(), ref.String())) {
					t.Errorf("error %v, want %q and the reference in it", err, test.wantError)
				}
				return
			}
			if err != nil || resolveErr != nil {
				t.Fatal(err, resolveErr)
			}
			want := ocispec.Descriptor{MediaType: test.want, Size: int64(len(test.raw)), Digest: describe([]byte(test.raw)).Digest}
			if diff := cmp.Diff(want, descriptor); diff != "" {
				t.Errorf("Manifest (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, resolved); diff != "" {
				t.Errorf("Resolve (-want +got):\n%s", diff)
			}
			if string(raw) != test.raw {
				t.Errorf("content %q", raw)
			}
		})
	}
}

func TestManifestIsVerified(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	client := newTestClient(t, Options{})
	ref := server.repository("app").Digested(digestOf([]byte("other")))
	server.manifests["app@"+ref.Digest] = storedManifest{mediaType: ocispec.MediaTypeImageManifest, raw: []byte(imageJSON)}
	if _, _, err := client.Manifest(t.Context(), ref); !errors.Is(err, errWrongContent) {
		t.Errorf("Manifest: %v, want %v", err, errWrongContent)
	}
	if _, err := client.Resolve(t.Context(), ref); !errors.Is(err, errWrongContent) {
		t.Errorf("Resolve: %v, want %v", err, errWrongContent)
	}
}

func TestEndlessManifest(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	var sent atomic.Int64
	server.intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		block := bytes.Repeat([]byte(" "), 64<<10)
		for {
			n, err := w.Write(block)
			if sent.Add(int64(n)); err != nil {
				return true
			}
		}
	})
	_, _, err := newTestClient(t, Options{}).Manifest(t.Context(), server.repository("app").Tagged("1"))
	if err == nil || !strings.Contains(err.Error(), "larger than 4 MiB") {
		t.Errorf("error %v", err)
	}
	if sent.Load() > 32<<20 {
		t.Errorf("%d bytes were sent before it was given up", sent.Load())
	}
}

func TestResolveWithoutHead(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter){
		"refused":        func(w http.ResponseWriter) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"not found":      func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"without digest": func(w http.ResponseWriter) { w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newTestRegistry(t)
			server.manifests["app@1"] = storedManifest{mediaType: ocispec.MediaTypeImageManifest, raw: []byte(imageJSON)}
			server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodHead {
					answer(w)
				}
				return r.Method == http.MethodHead
			})
			got, err := newTestClient(t, Options{}).Resolve(t.Context(), server.repository("app").Tagged("1"))
			if err != nil || got.Digest.String() != digestOf([]byte(imageJSON)) {
				t.Errorf("Resolve = %v, %v", got, err)
			}
		})
	}
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	client := newTestClient(t, Options{})
	ref := server.repository("app").Tagged("1")
	_, err := client.Resolve(t.Context(), ref)
	if want := fmt.Sprintf("pull manifest %q: not found (MANIFEST_UNKNOWN: manifest unknown)", ref.String()); !errors.Is(err, ErrNotFound) || err.Error() != want {
		t.Errorf("error %v\n want %s", err, want)
	}
	if _, err := client.Blob(t.Context(), ref.Repository, describe(nil)); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want %v", err, ErrNotFound)
	}
	if ok, err := client.Exists(t.Context(), ref.Repository, digestOf(nil)); ok || err != nil {
		t.Errorf("Exists = %t, %v", ok, err)
	}
}

func TestPutManifest(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	client := newTestClient(t, Options{})
	ref := server.repository("team/app").Tagged("1")
	if err := client.PutManifest(t.Context(), ref, ocispec.MediaTypeImageManifest, []byte(imageJSON)); err != nil {
		t.Fatal(err)
	}
	got, raw, err := client.Manifest(t.Context(), ref)
	if err != nil || string(raw) != imageJSON {
		t.Errorf("Manifest = %v, %q, %v", got, raw, err)
	}
	server.intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Docker-Content-Digest", digestOf([]byte("other")))
		w.WriteHeader(http.StatusCreated)
		return true
	})
	if err := client.PutManifest(t.Context(), ref, ocispec.MediaTypeImageManifest, []byte(imageJSON)); !errors.Is(err, errWrongContent) {
		t.Errorf("error %v, want %v", err, errWrongContent)
	}
}
