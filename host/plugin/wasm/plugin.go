package wasm

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// Options say what plugin is run, and how.
type Options struct {
	Name   string // of the plugin in trowel.toml, for messages
	Module []byte // must not change any more
	// Hello is the request that each new instance is sent before anything else.
	Hello    []byte
	Limits   transport.Limits // what is 0 has a default
	Purity   transport.Purity
	Services transport.Services // must be set
	// Engine keeps the compiled module, and may be shared by plugins. If it is nil the plugin has one of its own, which
	// keeps compiled modules in CacheDir, or in memory alone if that is empty.
	Engine   *Engine
	CacheDir string
	// CompileAfter is how long the interpreter works before a module that is not stored is compiled: a plugin that is asked
	// little is answered sooner without the compiler beside it. What it waits for the host is not counted. 0 compiles at once.
	CompileAfter time.Duration
}

// Plugin is a plugin in a WebAssembly module. It is safe for concurrent use.
type Plugin struct {
	name     string
	module   []byte
	request  []byte
	limits   transport.Limits
	purity   transport.Purity
	services transport.Services
	kept     *compiled
	pool     *pool
	// interpreting holds a token while somebody loads the interpreter.
	interpreting chan struct{}
	compileAfter time.Duration
	interpreted  atomic.Int64 // nanoseconds that the interpreter worked

	mu       sync.Mutex
	hello    []byte
	compiler *compiler
	calls    map[*context.CancelCauseFunc]struct{} // in progress
	closed   bool
}

// compiler is a compilation in the background.
type compiler struct {
	done chan struct{} // closed when the compiled module is in use, or cannot be
	err  error
	stop context.CancelFunc
}

// Open checks a module. Nothing of it runs until the first call.
func Open(o Options) (*Plugin, error) {
	p := &Plugin{
		name: o.Name, module: o.Module, request: o.Hello, limits: withDefaults(o.Limits), purity: o.Purity, services: o.Services,
		interpreting: make(chan struct{}, 1), compileAfter: o.CompileAfter, calls: map[*context.CancelCauseFunc]struct{}{},
	}
	info, err := Inspect(o.Module)
	if err == nil {
		err = info.check(p.limits.Memory)
	}
	if err == nil {
		// wazero believes what a module says it has, and would take memory for it before it looks.
		if err = manifest.Vet(o.Module); err != nil {
			err = &sdk.Error{Code: sdk.CodeInvalid, Message: err.Error()}
		}
	}
	engine := o.Engine
	if err == nil && engine == nil {
		engine, err = NewEngine(o.CacheDir)
	}
	if err == nil {
		p.kept, err = engine.keep(o.Module)
	}
	if err != nil {
		return nil, p.named(err, sdk.CodeInternal)
	}
	p.pool = newPool(p.limits.Instances)
	return p, nil
}

func withDefaults(l transport.Limits) transport.Limits {
	if l.Memory == 0 {
		l.Memory = 64 << 20
	}
	l.Memory = min(max(l.Memory, pageSize), 4<<30) / pageSize * pageSize
	if l.Timeout == 0 {
		l.Timeout = 30 * time.Second
	}
	if l.Start == 0 {
		l.Start = 5 * time.Second
	}
	if l.Instances == 0 {
		l.Instances = 4
	}
	return l
}

// Hello returns the envelope of the plugin's first answer, starting an instance if there was none so far.
func (p *Plugin) Hello(ctx context.Context) ([]byte, error) {
	p.mu.Lock()
	hello := p.hello
	p.mu.Unlock()
	if hello != nil {
		return hello, nil
	}
	return p.do(ctx, job{op: abi.OpHello})
}

// Call asks the plugin an operation. If the plugin refuses the first operation, that is the answer: see [Plugin.Hello].
//
// A stream whose Read or Write hangs does not hold up Call for much longer than the plugin's time, but is then still in use.
func (p *Plugin) Call(ctx context.Context, op abi.Op, request []byte, streams abi.Streams) ([]byte, error) {
	if len(request) > abi.MaxRequest {
		return nil, p.failed(sdk.CodeLimit, "cannot be sent a request of %d bytes: at most %s are allowed", len(request), size(abi.MaxRequest))
	}
	return p.do(ctx, job{
		op: op, request: request, streams: streams,
		fresh: p.purity == transport.Deterministic && op == abi.OpPlan,
	})
}

// Compile compiles the module, so that no later start has to. It returns when that is done.
func (p *Plugin) Compile(ctx context.Context) error {
	ctx, end, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	c := p.compile(ctx)
	select {
	case <-c.done:
		if c.err != nil {
			return p.named(c.err, sdk.CodeInternal)
		}
		return nil
	case <-ctx.Done():
		return p.ended(ctx)
	}
}

// Close ends the plugin. Calls in progress fail.
func (p *Plugin) Close(ctx context.Context) error {
	p.mu.Lock()
	closed, c := p.closed, p.compiler
	p.closed = true
	for cancel := range p.calls {
		(*cancel)(errClosed)
	}
	p.mu.Unlock()
	if closed {
		return nil
	}
	if c != nil {
		c.stop()
		select {
		case <-c.done:
		case <-ctx.Done():
			return p.ended(ctx)
		}
	}
	return errors.Join(p.pool.close(ctx), p.kept.release(context.WithoutCancel(ctx)))
}

// begin makes a context that ends with the plugin.
func (p *Plugin) begin(ctx context.Context) (context.Context, func(), error) {
	ctx, cancel := context.WithCancelCause(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		cancel(errClosed)
		return ctx, nil, p.ended(ctx)
	}
	p.calls[&cancel] = struct{}{}
	return ctx, func() {
		p.mu.Lock()
		delete(p.calls, &cancel)
		p.mu.Unlock()
		cancel(nil)
	}, nil
}

// compile starts the compiler, unless that was done before.
func (p *Plugin) compile(ctx context.Context) *compiler {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.compiler != nil {
		return p.compiler
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &compiler{done: make(chan struct{}), stop: stop}
	p.compiler = c
	if p.closed {
		stop()
		c.err = errClosed
		close(c.done)
		return c
	}
	go func() {
		defer close(c.done)
		defer stop()
		t, err := p.kept.tier(ctx, p.module)
		if c.err = err; err == nil {
			p.pool.replace(context.WithoutCancel(ctx), t)
		}
	}()
	return c
}

var _ transport.Transport = (*Plugin)(nil)
