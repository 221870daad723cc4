package wasm

import (
	"context"
	"errors"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// job is one operation to ask.
type job struct {
	op      abi.Op
	request []byte
	streams abi.Streams
	// fresh says that the instance must not have been asked anything, so that the answer depends on nothing else.
	fresh bool
}

type outcome struct {
	answer []byte
	err    error
}

// grace is how long a call whose time is over may take to end. The engine ends a module in milliseconds; what takes longer is
// a stream or a service of the host that does not heed its context.
const grace = time.Second

func (p *Plugin) do(ctx context.Context, j job) ([]byte, error) {
	ctx, end, err := p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	for {
		answer, err := p.attempt(ctx, j)
		if !errors.Is(err, errSuperseded) {
			return answer, err
		}
	}
}

// attempt asks once. It returns soon after the call's time is over, even if the host's part of the call hangs: the instance
// then keeps its seat until that ends.
func (p *Plugin) attempt(ctx context.Context, j job) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := p.pool.sit(ctx); err != nil {
		return nil, p.ended(ctx)
	}
	outcomes := make(chan outcome, 1)
	go func() {
		answer, err := p.work(ctx, cancel, j)
		p.pool.leave()
		outcomes <- outcome{answer, err}
	}()
	select {
	case o := <-outcomes:
		return p.judge(ctx, o)
	case <-ctx.Done():
	}
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case o := <-outcomes:
		return p.judge(ctx, o)
	case <-patience.C:
		return p.judge(ctx, outcome{err: p.ended(ctx)})
	}
}

// judge tells a call that was ended to be made again from one that failed.
func (p *Plugin) judge(ctx context.Context, o outcome) ([]byte, error) {
	if o.err != nil && errors.Is(context.Cause(ctx), errSuperseded) {
		return nil, errSuperseded
	}
	return o.answer, o.err
}

// work does a job in a seat. Time limits are causes for which it cancels the context.
func (p *Plugin) work(ctx context.Context, cancel context.CancelCauseFunc, j job) ([]byte, error) {
	after := context.WithoutCancel(ctx)
	i, err := p.instance(ctx, cancel, j.fresh)
	if err != nil {
		return nil, err
	}
	switch {
	case i.refused:
		p.pool.discard(after, i)
		return i.hello, nil
	case j.op == abi.OpHello:
		p.pool.put(after, i)
		return i.hello, nil
	}
	if i.tier.interpreted {
		i.stint = p.interpret(ctx, cancel, j)
		defer func() { p.interpreted.Add(int64(i.stint.end())) }()
	}
	over, streams, stop := transport.Patience(ctx, p.limits.Timeout, errTimeout, j.streams)
	defer stop()
	defer context.AfterFunc(over, func() { cancel(context.Cause(over)) })()
	i.calls++
	answer, err := p.enter(ctx, i, newSession(p.services, j.op, j.request, streams))
	if err != nil || j.fresh || i.worn(p.limits.Memory) {
		p.pool.discard(after, i)
	} else {
		p.pool.put(after, i)
	}
	return answer, err
}

// instance takes an instance from the pool or starts one.
func (p *Plugin) instance(ctx context.Context, cancel context.CancelCauseFunc, unused bool) (*instance, error) {
	if i := p.pool.take(unused); i != nil {
		return i, nil
	}
	if err := p.ready(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, p.ended(ctx)
		}
		return nil, p.named(err, sdk.CodeInternal)
	}
	over := time.AfterFunc(p.limits.Start, func() { cancel(errStartLimit) })
	defer over.Stop()
	i := &instance{tier: p.pool.reserve(context.WithoutCancel(ctx))}
	if err := p.start(ctx, i); err != nil {
		p.pool.discard(context.WithoutCancel(ctx), i)
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hello == nil {
		p.hello = i.hello
	}
	return i, nil
}

const (
	// small modules compile in less time than it takes to look for a reason not to wait for it.
	small = 64 << 10
	// loading is how long a stored module may take to load before the interpreter is used after all.
	loading = time.Second
)

// ready sees to it that instances can be made: of the compiled module if it is there soon, else of the interpreter, while the
// compiler works.
func (p *Plugin) ready(ctx context.Context) error {
	if p.pool.current() != nil {
		return nil
	}
	soon := len(p.module) <= small || p.kept.quick()
	if soon || p.compileAfter == 0 {
		p.compile(ctx)
	}
	if soon {
		c := p.compile(ctx)
		patience := time.NewTimer(loading)
		defer patience.Stop()
		select {
		case <-c.done:
			if c.err == nil {
				return nil
			}
		case <-patience.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case p.interpreting <- struct{}{}:
		defer func() { <-p.interpreting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.pool.current() != nil {
		return nil
	}
	t, err := newInterpreter(ctx, p.module)
	if err == nil {
		p.pool.offer(context.WithoutCancel(ctx), t)
	}
	return err
}
