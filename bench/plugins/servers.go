package main

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// objects is a web server that takes PUT, GET and HEAD, in memory.
type objects struct {
	mu    sync.Mutex
	under map[string][]byte
}

func newObjects() *objects { return &objects{under: map[string][]byte{}} }

// ServeHTTP keeps and gives objects.
func (o *objects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		o.mu.Lock()
		o.under[r.URL.Path] = content
		o.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
		return
	}
	o.mu.Lock()
	content, ok := o.under[r.URL.Path]
	o.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// serveRegistry runs a registry that wants a password, and has a base image with a shell.
func (b *bench) serveRegistry(ctx context.Context) (*httptest.Server, error) {
	open := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	pushing := httptest.NewServer(open)
	defer pushing.Close()
	base, err := b.baseImage(ctx)
	if err != nil {
		return nil, err
	}
	reference, err := name.ParseReference(strings.TrimPrefix(pushing.URL, "http://") + "/base")
	if err != nil {
		return nil, err
	}
	if err := remote.Write(reference, base, remote.WithContext(ctx)); err != nil {
		return nil, err
	}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != deployUser || password != deployPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		open.ServeHTTP(w, r)
	})), nil
}

// baseImage is the shell of the tests, and nothing else.
func (b *bench) baseImage(ctx context.Context) (v1.Image, error) {
	shell := filepath.Join(b.dir, "sh")
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", shell, "./cmd/trowel/testdata/shell")
	cmd.Dir, cmd.Env, cmd.Stderr = b.root, append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	program, err := os.ReadFile(shell)
	if err != nil {
		return nil, err
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.WriteHeader(&tar.Header{Name: "bin/sh", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.Env = "linux", runtime.GOARCH, []string{"PATH=/bin"}
	return mutate.ConfigFile(image, config)
}
