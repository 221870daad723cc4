package plugin

import (
	"context"
	"errors"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/wasm"
)

// Warm compiles a WebAssembly module into the directory that [Options.CompileDir] names, so that the first build with it
// need not. Nothing of the module runs.
func Warm(ctx context.Context, compileDir, name string, module []byte) (err error) {
	engine, err := wasm.NewEngine(compileDir)
	if err != nil {
		return err
	}
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
