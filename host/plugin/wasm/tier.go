package wasm

import (
	"context"
	"errors"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/trowel-build/trowel/sdk"
)

// tier is a module that can be instantiated: interpreted or compiled.
type tier struct {
	runtime wazero.Runtime
	module  wazero.CompiledModule
	// interpreted says which of the two it is.
	interpreted bool
	// instances counts those that there are, idle or not; the pool guards it.
	instances int
	closed    bool
	// cache has the code of this tier alone; nil if it is shared, or if there is none.
	cache wazero.CompilationCache
}

// newInterpreter makes a tier that is ready soon and slow.
func newInterpreter(ctx context.Context, module []byte) (*tier, error) {
	t, err := newTier(ctx, wazero.NewRuntimeConfigInterpreter(), module)
	if err == nil {
		t.interpreted = true
	}
	return t, err
}

func newTier(ctx context.Context, config wazero.RuntimeConfig, module []byte) (*tier, error) {
	t, err := newRuntime(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := t.load(ctx, module); err != nil {
		return nil, errors.Join(err, t.close(context.WithoutCancel(ctx)))
	}
	return t, nil
}

// newRuntime makes a tier that has no module yet, but what modules import.
func newRuntime(ctx context.Context, config wazero.RuntimeConfig) (*tier, error) {
	// The limit of memory is the mapping's size, see memory.go: a runtime's own limit would not tell that it was hit.
	config = config.WithCloseOnContextDone(true).WithDebugInfoEnabled(false)
	wazeroSetup.Lock()
	t := &tier{runtime: wazero.NewRuntimeWithConfig(ctx, config)}
	wazeroSetup.Unlock()
	if err := provide(ctx, t.runtime); err != nil {
		return nil, errors.Join(err, t.close(context.WithoutCancel(ctx)))
	}
	return t, nil
}

func (t *tier) load(ctx context.Context, module []byte) error {
	// With a single worker the compiler does not look at the context.
	const workers = 2
	var err error
	if t.module, err = t.runtime.CompileModule(experimental.WithCompilationWorkers(ctx, workers), module); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return invalid("the module is invalid: " + err.Error())
	}
	call := t.module.ExportedFunctions()[callExport]
	if !signature(call, 2, 1) {
		return invalid(callExport + " must have the type (i32, i32) -> i32")
	}
	if start, ok := t.module.ExportedFunctions()[initExport]; ok && !signature(start, 0, 0) {
		return invalid(initExport + " must have the type () -> ()")
	}
	return nil
}

// signature reports whether a function has so many parameters and results, all i32.
func signature(f api.FunctionDefinition, params, results int) bool {
	for _, t := range append(append([]api.ValueType(nil), f.ParamTypes()...), f.ResultTypes()...) {
		if t != api.ValueTypeI32 {
			return false
		}
	}
	return len(f.ParamTypes()) == params && len(f.ResultTypes()) == results
}

// close frees the tier, once. It has no instances any more.
func (t *tier) close(ctx context.Context) error {
	if t.closed {
		return nil
	}
	t.closed = true
	var err error
	if t.module != nil {
		err = t.module.Close(ctx)
	}
	err = errors.Join(err, t.runtime.Close(ctx))
	if t.cache != nil {
		err = errors.Join(err, t.cache.Close(ctx))
	}
	return err
}

// coded is err as an error with a code, which it becomes if it has none.
func coded(err error, code sdk.ErrorCode) *sdk.Error {
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		return e
	}
	return &sdk.Error{Code: code, Message: err.Error()}
}
