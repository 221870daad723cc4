package main

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/trowel-build/trowel/host/plugin/author"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/host/plugin/wasm"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// timed is a plugin that runs, and how long its calls took: starts are in them, and what the host did on its behalf, such as
// waiting for a server, is not.
type timed struct {
	transport.Transport
	services *service.Services
	calls    atomic.Int64
	spent    atomic.Int64
	host     atomic.Int64
}

// plugIn opens a plugin of the examples as a build does: it is interpreted until it is compiled, unless an earlier one left it
// compiled in dir.
func (b *bench) plugIn(s *subject, dir string, o service.Options, config map[string]any) (_ *timed, err error) {
	o.Plugin, o.Kind = s.name, s.kind
	if s.kind == sdk.KindInstruction {
		o.Purity = transport.Deterministic
	}
	t := &timed{}
	if t.services, err = service.New(o); err != nil {
		return nil, err
	}
	engine, err := wasm.NewEngine(dir)
	if err != nil {
		return nil, err
	}
	t.Transport, err = s.open(settings{config: config, services: t.hosting(), engine: engine, purity: o.Purity})
	return t, err
}

// Call times a call.
func (t *timed) Call(ctx context.Context, op abi.Op, request []byte, streams abi.Streams) ([]byte, error) {
	started := time.Now()
	defer func() { t.spent.Add(int64(time.Since(started))) }()
	t.calls.Add(1)
	return t.Transport.Call(ctx, op, request, streams)
}

// inPlugin is the time that was not the host's.
func (t *timed) inPlugin() time.Duration { return time.Duration(t.spent.Load() - t.host.Load()) }

// cache is the plugin as the core knows caches.
func (t *timed) cache() *transfer.Cache {
	remote := abi.NewClient(t).Cache()
	return transfer.NewCache(transfer.Backend{Reader: remote, Planner: remote}, transfer.New(transfer.Options{Send: t.services.Send}))
}

func (t *timed) close(ctx context.Context) error {
	err := t.Transport.Close(ctx)
	t.services.Close()
	return err
}

// hosting are the services, with a clock.
func (t *timed) hosting() transport.Services { return hosting{t} }

type hosting struct{ t *timed }

// Do times what the host does.
func (h hosting) Do(ctx context.Context, op abi.HostOp, request []byte) []byte {
	started := time.Now()
	defer func() { h.t.host.Add(int64(time.Since(started))) }()
	return h.t.services.Do(ctx, op, request)
}

// Log is the services'.
func (h hosting) Log(level sdk.Level, text string) { h.t.services.Log(level, text) }

// openCache opens the cache of the examples, whose objects are below a URL, and compiles it.
func (b *bench) openCache(ctx context.Context, at string) (*timed, error) {
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	grants := service.Grants{Hosts: []string{u.Scheme + "://" + u.Host}}
	s, err := b.compile(ctx, filepath.Join(b.root, "examples", "cache"), "cache", author.Wasm)
	if err != nil {
		return nil, err
	}
	dir, err := b.newDir("compiled")
	if err != nil {
		return nil, err
	}
	t, err := b.plugIn(s, dir, service.Options{Grants: grants}, map[string]any{"url": strings.TrimSuffix(at, "/")})
	if err != nil {
		return nil, err
	}
	if module, ok := t.Transport.(*wasm.Plugin); ok {
		if err := module.Compile(ctx); err != nil {
			return nil, errors.Join(err, t.close(ctx))
		}
	}
	return t, nil
}
