package plugin

import (
	"context"
	"errors"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/wasm"
)

// Warm compiles a WebAssembly module into the directory that the options name, so that the first build with it need not; what was
// compiled ahead it tries out. Nothing of the module runs.
func Warm(ctx context.Context, o Options, name string, module []byte) (err error) {
	engine, err := wasm.NewEngine(o.CompileDir)
	if err != nil {
		return err
	}
	engine.Ahead = o.Ahead
	services, err := service.New(service.Options{Plugin: name})
	if err != nil {
		return err
	}
	defer services.Close()
	p, err := wasm.Open(wasm.Options{Name: name, Module: module, Engine: engine, Services: services})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	return p.Compile(ctx)
}
