package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// wickedRegistry is a registry that lies where it is told to.
type wickedRegistry struct {
	server *httptest.Server

	mu   sync.Mutex
	lies map[string]http.HandlerFunc // by path below /v2/
	puts []string                    // manifests that were stored
}

func newWickedRegistry(t *testing.T) *wickedRegistry {
	t.Helper()
	r := &wickedRegistry{lies: map[string]http.HandlerFunc{}}
	honest := registry.New(registry.Logger(quiet()))
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		lie := r.lies[strings.TrimPrefix(q.URL.Path, "/v2/")]
		if q.Method == http.MethodPut && strings.Contains(q.URL.Path, "/manifests/") {
			r.puts = append(r.puts, strings.TrimPrefix(q.URL.Path, "/v2/"))
		}
		r.mu.Unlock()
		if lie != nil {
			lie(w, q)
			return
		}
		honest.ServeHTTP(w, q)
	}))
	t.Cleanup(r.server.Close)
	return r
}

func (r *wickedRegistry) host() string { return strings.TrimPrefix(r.server.URL, "http://") }

// lie answers all requests for a path below /v2/.
func (r *wickedRegistry) lie(path string, h http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lies[path] = h
}

// tagged lists the manifests of app that were stored.
func (r *wickedRegistry) tagged() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.puts), func(p string) bool { return !strings.HasPrefix(p, "app/") })
}

// forget forgets what was stored so far.
func (r *wickedRegistry) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.puts = nil
}

// serve answers with bytes that are what they are said to be.
func (r *wickedRegistry) serve(path, mediaType string, content []byte) digest.Digest {
	d := digest.FromBytes(content)
	answer := func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Docker-Content-Digest", d.String())
		http.ServeContent(w, q, "", epochStart, bytes.NewReader(content))
	}
	r.lie(path, answer)
	repository, _, manifest := strings.Cut(path, "/manifests/")
	if manifest {
		r.lie(repository+"/manifests/"+d.String(), answer)
	}
	return d
}

// forgery is an image whose documents may say anything.
type forgery struct {
	layers   [][]byte // blobs
	config   map[string]any
	manifest ocispec.Manifest
	// edit changes the manifest before it is served.
	edit func(*ocispec.Manifest)
}

// forge makes an image of uncompressed layers, gzipped.
func forge(layers ...[]byte) *forgery {
	f := &forgery{}
	ids := []string{}
	for _, l := range layers {
		f.layers = append(f.layers, zip(l))
		ids = append(ids, digest.FromBytes(l).String())
	}
	f.config = map[string]any{
		"architecture": goArch(), "os": "linux", "config": map[string]any{"Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	}
	return f
}

func zip(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		panic(err) // a buffer takes everything
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// publish serves a forgery under a name, and returns its manifest's digest.
func (r *wickedRegistry) publish(t *testing.T, repository, tag string, f *forgery) digest.Digest {
	t.Helper()
	config, err := json.Marshal(f.config)
	must(t, err)
	m := &f.manifest
	m.SchemaVersion = 2
	if m.MediaType == "" {
		m.MediaType = ocispec.MediaTypeImageManifest
	}
	m.Config = ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageConfig, Size: int64(len(config)),
		Digest: r.serve(repository+"/blobs/"+digest.FromBytes(config).String(), "application/octet-stream", config),
	}
	for _, l := range f.layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageLayerGzip, Size: int64(len(l)),
			Digest: r.serve(repository+"/blobs/"+digest.FromBytes(l).String(), "application/octet-stream", l),
		})
	}
	if f.edit != nil {
		f.edit(m)
	}
	raw, err := json.Marshal(m)
	must(t, err)
	return r.serve(repository+"/manifests/"+tag, m.MediaType, raw)
}

// pushBase pushes the image with a shell as base:TAG, with layers on top.
func (r *wickedRegistry) pushBase(t *testing.T, tag string, layers ...[]byte) string {
	t.Helper()
	img, err := sharedBase()
	must(t, err)
	var top []v1.Layer
	for _, l := range layers {
		x, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(l)), nil },
			tarball.WithCompressionLevel(1), tarball.WithMediaType(types.OCILayer))
		must(t, err)
		top = append(top, x)
	}
	img, err = mutate.AppendLayers(img, top...)
	must(t, err)
	reference := r.host() + "/base:" + tag
	must(t, push(reference, img))
	return reference
}

// entry is a member of a tar, as short as can be.
type entry struct {
	tar.Header
	text string
}

func file(name, text string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, text}
}

func folder(name string) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, ""}
}

func symlink(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}

func hardlink(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, ""}
}

// pack makes a tar.
func pack(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.text))
		e.PAXRecords = maps.Clone(e.PAXRecords)
		must(t, w.WriteHeader(&e.Header))
		_, err := io.WriteString(w, e.text)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func toJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // documents of this file's own types
	}
	return b
}
