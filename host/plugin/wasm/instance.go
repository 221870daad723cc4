package wasm

import (
	"context"
	"errors"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// instance is a module with memory of its own. It is used by one goroutine at a time.
type instance struct {
	tier   *tier
	module api.Module
	entry  api.Function
	memory *memory
	stdout *lines
	stderr *lines
	// done is that of the entry in progress: sleeps end with it.
	done <-chan struct{}
	// hello is its answer to the first operation.
	hello   []byte
	refused bool // that answer is an error
	calls   int  // after that
	// stint is that of the interpreter at the call in progress; nil if the module is compiled.
	stint *stint
}

// start makes i an instance of its tier: it runs what its language wants to run before anything else, and asks it the first
// operation. Whatever comes of it, i is to be closed.
func (p *Plugin) start(ctx context.Context, i *instance) error {
	var err error
	if i.memory, err = newMemory(p.limits.Memory); err != nil {
		return p.named(err, sdk.CodeLimit)
	}
	i.done = ctx.Done()
	i.stdout, i.stderr = &lines{log: p.services.Log}, &lines{log: p.services.Log}
	config := configure(p.purity, i.sleep, i.stdout, i.stderr)
	during := context.WithValue(ctx, sessionKey{}, newSession(p.services, 0, nil, nil))
	i.module, err = i.tier.runtime.InstantiateModule(experimental.WithMemoryAllocator(during, i.memory), i.tier.module, config)
	if err != nil {
		return p.crashed(ctx, i, err)
	}
	if initialize := i.module.ExportedFunction(initExport); initialize != nil {
		if _, err := initialize.Call(during); err != nil {
			return p.crashed(ctx, i, err)
		}
	}
	i.entry = i.module.ExportedFunction(callExport)
	if i.hello, err = p.enter(ctx, i, newSession(p.services, abi.OpHello, p.request, nil)); err != nil {
		return err
	}
	_, refusal := abi.Result(i.hello)
	i.refused = refusal != nil
	return nil
}

// enter asks an instance an operation. After an error it must not be used again.
func (p *Plugin) enter(ctx context.Context, i *instance, s *session) ([]byte, error) {
	i.done, i.memory.refused = ctx.Done(), false
	i.stderr.forget()
	s.stint = i.stint
	ctx = context.WithValue(ctx, sessionKey{}, s)
	results, err := i.entry.Call(ctx, uint64(s.op), uint64(len(s.request)))
	if err != nil {
		return nil, p.crashed(ctx, i, err)
	}
	if unanswered := p.unanswered(s, int32(uint32(results[0]))); unanswered != nil {
		return nil, unanswered
	}
	i.stdout.flush()
	i.stderr.flush()
	return s.answer, nil
}

// sleep is the module's.
func (i *instance) sleep(ns int64) {
	i.stint.pause()
	defer i.stint.resume()
	sleep(ns, i.done)
}

const maxCalls = 1000

// worn reports whether an instance is better replaced: languages leak, and fragment their memory.
func (i *instance) worn(limit int64) bool {
	return i.calls >= maxCalls || int64(i.module.Memory().Size()) >= limit/4*3
}

// close frees the instance.
func (i *instance) close(ctx context.Context) error {
	var err error
	if i.module != nil {
		err = i.module.Close(ctx)
	}
	if i.memory != nil {
		err = errors.Join(err, i.memory.release())
	}
	return err
}
