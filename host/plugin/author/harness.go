package author

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host/plugin/process"
	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/host/plugin/wasm"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// testMemory is what an instance under test may have. It is an unusual number of pages: by it the mapping is recognised
// whose pages [guestMemory] counts.
const testMemory = 64<<20 + 13<<16

// harness runs a subject the way a build would.
type harness struct {
	subject *Subject
	engine  *wasm.Engine
	held    *wasm.Plugin // keeps the compiled module while the harness is in use
}

// newHarness compiles the subject, so that what is timed later is not that. The compiled module is kept in a directory, or in
// memory alone if dir is empty.
func newHarness(ctx context.Context, s *Subject, dir string) (*harness, error) {
	h := &harness{subject: s}
	if s.native() {
		return h, nil
	}
	var err error
	if h.engine, err = wasm.NewEngine(dir); err != nil {
		return nil, err
	}
	held, err := wasm.Open(wasm.Options{Name: s.Name, Module: s.Program, Services: silent{}, Engine: h.engine})
	if err != nil {
		return nil, err
	}
	h.held = held
	return h, held.Compile(ctx)
}

func (h *harness) close(ctx context.Context) error {
	if h.held == nil {
		return nil
	}
	return h.held.Close(ctx)
}

func (s *Subject) native() bool { return s.Attach != "" || s.Platform.Native() }

// run is one run of the subject.
type run struct {
	conn   transport.Transport
	client *abi.Client
	hello  abi.HelloResponse
}

// conditions say how a subject runs.
type conditions struct {
	config   map[string]any
	services transport.Services
	purity   transport.Purity
	timeout  time.Duration // of a call; 0 means 30 s
	once     bool          // one instance for all calls
}

// start runs the subject and greets it.
func (h *harness) start(ctx context.Context, c conditions) (*run, error) {
	if err := abi.CheckConfig(c.config); err != nil {
		return nil, err
	}
	conn, err := h.open(ctx, c)
	if err != nil {
		return nil, err
	}
	r := &run{conn: conn, client: abi.NewClient(conn)}
	envelope, err := conn.Hello(ctx)
	if err == nil {
		r.hello, err = abi.ReadHello(envelope, h.subject.Kind)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	return r, nil
}

func (h *harness) open(ctx context.Context, c conditions) (transport.Transport, error) {
	s := h.subject
	request := abi.HelloRequest{ABI: abi.Version, Host: "trowel plugin test", Name: s.Name, Kind: s.Kind, Config: c.config}
	limits := transport.Limits{Memory: testMemory, Timeout: c.timeout}
	if limits.Timeout == 0 {
		limits.Timeout = 30 * time.Second
	}
	if c.once {
		limits.Instances = 1
	}
	hello := abi.AppendHelloRequest(nil, &request)
	if !s.native() {
		p, err := wasm.Open(wasm.Options{
			Name: s.Name, Module: s.Program, Hello: hello, Limits: limits, Purity: c.purity, Services: c.services, Engine: h.engine,
		})
		if err != nil {
			return nil, err
		}
		if err := p.Compile(ctx); err != nil { // it was compiled before: this only fetches it
			return nil, errors.Join(err, p.Close(ctx))
		}
		return p, nil
	}
	limits.Memory = 0
	o := process.Options{Name: s.Name, Hello: hello, Services: c.services, Limits: limits, Attach: s.Attach}
	if s.Attach == "" {
		sum := sha256.Sum256(s.Program)
		o.Program, o.Digest = s.Program, sdk.Digest("sha256:"+hex.EncodeToString(sum[:]))
	}
	return process.Open(o)
}

// cache is the run as the core knows caches.
func (r *run) cache(send transfer.Send) *transfer.Cache {
	remote := r.client.Cache()
	backend := transfer.Backend{Reader: remote}
	if slices.Contains(r.hello.Features, abi.FeatureBlobWriter) {
		backend.Writer = remote
	}
	if slices.Contains(r.hello.Features, abi.FeatureUploadPlanner) {
		backend.Planner = remote
	}
	return transfer.NewCache(backend, transfer.New(transfer.Options{
		Send: send, Backoff: 5 * time.Millisecond, Attempts: 3, Stall: 2 * time.Second,
	}))
}

func (r *run) close(ctx context.Context) error { return r.conn.Close(context.WithoutCancel(ctx)) }

// silent are services that there are none of.
type silent struct{}

// Do refuses.
func (silent) Do(context.Context, abi.HostOp, []byte) []byte {
	return abi.Fail(&sdk.Error{Code: sdk.CodeUnsupported, Message: "there are no services here"})
}

// Log forgets.
func (silent) Log(sdk.Level, string) {}

// fill puts values in the place of {{name}} in a configuration.
func fill(value any, values *strings.Replacer) any {
	switch v := value.(type) {
	case string:
		return values.Replace(v)
	case map[string]any:
		out := map[string]any{}
		for key, element := range v {
			out[key] = fill(element, values)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			out[i] = fill(element, values)
		}
		return out
	}
	return value
}
