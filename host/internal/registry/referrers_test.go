package registry

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestReferrers lists what refers to a manifest: where the registry keeps lists, where it keeps none, and where its lists
// are not to be had.
func TestReferrers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lists  bool
		broken http.HandlerFunc // in the place of the list
		fails  bool
	}{
		"lists":       {lists: true},
		"no lists":    {},
		"bad request": {broken: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }},
		"a page": {broken: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html>")
		}},
		"denied": {fails: true, broken: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }},
		"no index": {fails: true, broken: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			io.WriteString(w, "[]")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(tt.lists))
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.broken != nil && strings.Contains(r.URL.Path, "/referrers/") {
					tt.broken(w, r)
					return
				}
				handler.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			testReferrers(t, Repository{Registry: strings.TrimPrefix(server.URL, "http://"), Path: "team/app"}, tt.fails)
		})
	}
}

func testReferrers(t *testing.T, to Repository, fails bool) {
	client := newTestClient(t, Options{})
	subject := manifestFor(t, client, to, nil, "subject")
	found, err := client.Referrers(t.Context(), to, subject.Digest)
	if fails {
		if err == nil {
			t.Fatalf("Referrers = %v", found)
		}
		return
	}
	if err != nil || len(found) != 0 {
		t.Fatalf("Referrers of what nobody refers to = %v, %v", found, err)
	}
	var want []digest.Digest
	for _, text := range []string{"one", "two", "one"} {
		d := manifestFor(t, client, to, &subject, text)
		if len(want) < 2 {
			want = append(want, d.Digest)
		}
	}
	found, err = client.Referrers(t.Context(), to, subject.Digest)
	if err != nil {
		t.Fatal(err)
	}
	got := map[digest.Digest]bool{}
	for _, d := range found {
		got[d.Digest] = true
	}
	if diff := cmp.Diff(map[digest.Digest]bool{want[0]: true, want[1]: true}, got); diff != "" || len(found) != 2 {
		t.Errorf("%d referrers (-want +got):\n%s", len(found), diff)
	}
	if _, err := client.Referrers(t.Context(), to, "sha256:../x"); err == nil {
		t.Error("a bad digest passes")
	}
}

// manifestFor pushes a manifest of its own for the text.
func manifestFor(t *testing.T, client *Client, to Repository, subject *ocispec.Descriptor, text string) ocispec.Descriptor {
	t.Helper()
	if _, err := client.Push(t.Context(), to, completeBlob([]byte("{}")), nil, nil); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/x-test",
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{ocispec.DescriptorEmptyJSON}, Subject: subject,
		Annotations: map[string]string{"text": text},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if subject == nil {
		err = client.PutManifest(t.Context(), to.Digested(d.Digest.String()), d.MediaType, raw)
	} else {
		err = client.PutReferrer(t.Context(), to, subject.Digest, d, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestReferrersMirror asks the registry where a mirror has no referrers.
func TestReferrersMirror(t *testing.T) {
	t.Parallel()
	start := func() string {
		server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
		t.Cleanup(server.Close)
		return strings.TrimPrefix(server.URL, "http://")
	}
	origin, mirror := start(), start()
	to := Repository{Registry: origin, Path: "team/app"}
	direct := newTestClient(t, Options{})
	subject := manifestFor(t, direct, to, nil, "subject")
	want := manifestFor(t, direct, to, &subject, "signature")
	client := newTestClient(t, Options{Registries: map[string]Settings{origin: {Mirrors: []string{mirror}}}})
	found, err := client.Referrers(t.Context(), to, subject.Digest)
	if err != nil || len(found) != 1 || found[0].Digest != want.Digest {
		t.Errorf("Referrers = %v, %v", found, err)
	}
	if _, _, err := client.Manifest(t.Context(), to.Tagged("absent")); !errors.Is(err, ErrNotFound) {
		t.Errorf("Manifest = %v", err)
	}
}
