package abi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
	"github.com/trowel-build/trowel/sdk/plugintest"
)

// loopback is a transport within a process: the bytes of both directions cross, the streams are the client's own.
type loopback struct {
	server   *abi.Server
	services sdk.Services
	files    bool
	running  atomic.Int32
}

func (l *loopback) SharesFiles() bool { return l.files }

func (l *loopback) Call(ctx context.Context, op abi.Op, request []byte, streams abi.Streams) ([]byte, error) {
	l.running.Add(1)
	defer l.running.Add(-1)
	answer := make(chan []byte, 1)
	go func() {
		answer <- bytes.Clone(l.server.Handle(ctx, &loopbackHost{l, streams}, op, bytes.Clone(request)))
	}()
	return <-answer, nil
}

type loopbackHost struct {
	*loopback

	streams abi.Streams
}

func (h *loopbackHost) Do(ctx context.Context, op abi.HostOp, request []byte) ([]byte, error) {
	return abi.HandleHost(ctx, h.services, op, request), nil
}

func (h *loopbackHost) Log(ctx context.Context, level sdk.Level, text string) {
	if h.services.Log != nil {
		h.services.Log.Log(ctx, level, text)
	}
}

func (h *loopbackHost) Reader(_ context.Context, stream uint32) io.Reader {
	if r, ok := h.streams[stream].(io.Reader); ok {
		return r
	}
	return failing{}
}

func (h *loopbackHost) Writer(_ context.Context, stream uint32) io.Writer {
	if w, ok := h.streams[stream].(io.Writer); ok {
		return w
	}
	return failing{}
}

var errNoStream = errors.New("no such stream")

type failing struct{}

func (failing) Read([]byte) (int, error)  { return 0, errNoStream }
func (failing) Write([]byte) (int, error) { return 0, errNoStream }

// dial starts a plugin as one of the kind, and fails the test if calls are left running at its end.
func dial(t *testing.T, p sdk.Plugin, kind sdk.Kind, services sdk.Services) (*abi.Client, *loopback) {
	t.Helper()
	l := &loopback{server: abi.NewServer(p), services: services}
	t.Cleanup(func() {
		if n := l.running.Load(); n > 0 {
			t.Errorf("%d calls are still running", n)
		}
	})
	client := abi.NewClient(l)
	if _, err := client.Hello(t.Context(), abi.HelloRequest{ABI: abi.Version, Kind: kind}); err != nil {
		t.Fatal(err)
	}
	return client, l
}

func cachePlugin(c sdk.CacheReader) sdk.Plugin {
	return sdk.Plugin{Name: "memory", Cache: func(context.Context, *sdk.Config) (sdk.CacheReader, error) { return c, nil }}
}

// TestConformance: a cache does over the wire what it does within the process.
func TestConformance(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]bool{"streams": false, "files": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plugintest.Cache(t, func(t *testing.T) sdk.Cache {
				cache := newMemory()
				if files {
					cache.dir = t.TempDir()
				}
				client, l := dial(t, cachePlugin(cache), sdk.KindCache, sdk.Services{})
				l.files = files
				return client.Cache()
			})
		})
	}
	t.Run("credential", func(t *testing.T) {
		t.Parallel()
		plugintest.CredentialProvider(t, func(t *testing.T) sdk.CredentialProvider {
			client, _ := dial(t, sdk.Plugin{Credential: newProvider}, sdk.KindCredential, sdk.Services{})
			return client.Credential()
		}, plugintest.Registries{
			Known:   sdk.CredentialRequest{Registry: "registry.example.com", Repository: "team/app", Actions: []string{"pull"}},
			Unknown: "elsewhere.example.org",
		})
	})
}
