package hostile_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/internal/progress"
)

// bench is where images are built with the plugins of a site.
type bench struct {
	s       *site
	context string
	image   string // the last one, as an archive

	mu     sync.Mutex
	events []string
	shown  bytes.Buffer // what a user sees in a CI job
}

func newBench(t *trial, s *site) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{s: s, context: filepath.Join(dir, "context"), image: filepath.Join(dir, "image.tar")}
	must(t, os.Mkdir(b.context, 0o755))
	return b
}

// Report implements [host.Reporter].
func (b *bench) Report(e host.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e.Text)
}

// texts are the messages of the builds so far.
func (b *bench) texts() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.events...)
}

// request is a build with all plugins of the site.
func (b *bench) request(reporter host.Reporter) host.Request {
	r := host.Request{
		Context: b.context, Outputs: []string{"type=oci,dest=" + b.image}, Compression: "none", Launcher: shared.launcher,
		Progress: reporter, WorkDir: filepath.Join(filepath.Dir(b.context), "work"), Epoch: &time.Time{},
	}
	for _, i := range b.s.set.Instructions {
		r.Instructions = append(r.Instructions, host.Instructions(i))
	}
	for _, c := range b.s.set.Caches {
		r.Caches = append(r.Caches, host.Cache{Name: c.Name, Backend: c.Backend, Roles: c.Roles, Place: host.CacheRemote})
	}
	return r
}

// build builds, and returns the image's digest.
func (b *bench) build() (string, error) {
	printer, err := progress.New(progress.ModePlain, &b.shown, progress.Environment{})
	if err != nil {
		return "", err
	}
	result, err := host.Build(b.s.t.Context(), b.request(both{b, printer}))
	return result.Digest, errors.Join(err, printer.Close())
}

// both has events go two ways.
type both [2]host.Reporter

// Report implements [host.Reporter].
func (b both) Report(e host.Event) {
	b[0].Report(e)
	b[1].Report(e)
}
