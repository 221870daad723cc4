//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/trowel-build/trowel/bench/lab"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/host/plugin/wasm"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// s3Module compiles the plugin as its users have it, once.
func s3Module(t *testing.T) s3Backend {
	t.Helper()
	root, err := lab.SourceRoot()
	must(t, err)
	file := filepath.Join(t.TempDir(), "s3.wasm")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, "./plugins/s3")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile the plugin: %v\n%s", err, out)
	}
	module, err := os.ReadFile(file)
	must(t, err)
	t.Logf("the module has %d bytes", len(module))
	engine, err := wasm.NewEngine(filepath.Join(t.TempDir(), "compiled"))
	must(t, err)
	return func(t testing.TB, services *service.Services, config map[string]any) transfer.Backend {
		t.Helper()
		hello := abi.HelloRequest{ABI: abi.Version, Host: "test", Name: "cache", Kind: sdk.KindCache, Config: config}
		p, err := wasm.Open(wasm.Options{
			Name: "cache", Module: module, Hello: abi.AppendHelloRequest(nil, &hello), Services: services, Engine: engine,
		})
		must(t, err)
		t.Cleanup(func() { _ = p.Close(t.Context()) })
		envelope, err := p.Hello(t.Context())
		must(t, err)
		answer, err := abi.ReadHello(envelope, sdk.KindCache)
		must(t, err)
		if !slices.Contains(answer.Features, abi.FeatureUploadPlanner) || slices.Contains(answer.Features, abi.FeatureBlobWriter) {
			t.Fatalf("the plugin's features are %v", answer.Features)
		}
		remote := abi.NewClient(p).Cache()
		return transfer.Backend{Reader: remote, Planner: remote}
	}
}
