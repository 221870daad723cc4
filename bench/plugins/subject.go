package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trowel-build/trowel/host/plugin/author"
	"github.com/trowel-build/trowel/host/plugin/process"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/host/plugin/wasm"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// subject is a plugin that is measured.
type subject struct {
	name    string
	kind    sdk.Kind
	target  author.Target
	program []byte
	missing error // why it is not measured: its compiler is not here, or does not compile it
}

// orMissing is what is measured of a plugin, or why nothing is.
func (s *subject) orMissing(measured func() string) string {
	if s.missing != nil {
		return s.missing.Error()
	}
	return measured()
}

// compileGreetings compiles the instruction of the examples in each language. One that cannot be compiled here
// has no program.
func (b *bench) compileGreetings(ctx context.Context) ([]*subject, error) {
	var all []*subject
	for _, s := range []struct {
		example, name  string
		target         author.Target
		source, beside string
	}{
		{"instruction-go", "Go, wasm", author.Wasm, "", ""},
		{"instruction-go", "Go, process", author.Native, "", ""},
		{"instruction-c", "C, wasm", author.Wasm, "sdk/c/trowel.h", "trowel.h"},
		{"instruction-rust", "Rust, wasm", author.Wasm, "sdk/rust/trowel.rs", "trowel.rs"},
		{"instruction-as", "AssemblyScript, wasm", author.Wasm, "sdk/assemblyscript/trowel.ts", "trowel.ts"},
	} {
		dir := filepath.Join(b.root, "examples", s.example)
		if s.source != "" {
			var err error
			if dir, err = b.copyProject(dir, filepath.Join(b.root, s.source), s.beside); err != nil {
				return nil, err
			}
		}
		one, err := b.compile(ctx, dir, s.name, s.target)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// copyProject copies a project of one file, with its SDK beside it, as "trowel plugin new" puts it.
func (b *bench) copyProject(from, source, beside string) (string, error) {
	dir, err := b.newDir("project")
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return "", err
	}
	files := map[string]string{beside: source}
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name() != beside {
			files[e.Name()] = filepath.Join(from, e.Name())
		}
	}
	for name, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			return "", err
		}
	}
	// npm install puts the compiler of AssemblyScript beside the example, not beside the copy.
	if modules := filepath.Join(from, "node_modules"); exists(modules) {
		err = os.Symlink(modules, filepath.Join(dir, "node_modules"))
	}
	return dir, err
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func (b *bench) compile(ctx context.Context, dir, name string, target author.Target) (*subject, error) {
	project, err := author.OpenProject(dir)
	if err != nil {
		return nil, err
	}
	s := &subject{name: name, kind: project.Kind, target: target}
	built, err := author.Build(ctx, author.BuildRequest{
		Project: project, Target: target, Output: filepath.Join(b.dir, "plugin"),
	})
	if missing, ok := errors.AsType[*author.MissingToolError](err); ok {
		s.missing = fmt.Errorf("%w: %s", missing, missing.Hint())
		return s, nil
	}
	if refused, ok := errors.AsType[*author.CompileError](err); ok && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, refused)
		s.missing = fmt.Errorf("%s: %w", refused.Tool, refused.Err)
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.program, err = os.ReadFile(built.File)
	return s, err
}

// settings say how a plugin is opened.
type settings struct {
	config   map[string]any
	services transport.Services
	engine   *wasm.Engine
	purity   transport.Purity
}

// open opens a plugin. Nothing of it runs before it is asked something.
func (s *subject) open(o settings) (transport.Transport, error) {
	if o.services == nil {
		none, err := service.New(service.Options{Plugin: s.name, Kind: s.kind, Purity: o.purity})
		if err != nil {
			return nil, err
		}
		o.services = none
	}
	request := abi.HelloRequest{ABI: abi.Version, Host: "bench", Name: "plugin", Kind: s.kind, Config: o.config}
	hello := abi.AppendHelloRequest(nil, &request)
	if s.target == author.Native {
		sum := sha256.Sum256(s.program)
		return process.Open(process.Options{
			Name: "plugin", Program: s.program, Digest: sdk.Digest("sha256:" + hex.EncodeToString(sum[:])), Hello: hello, Services: o.services,
		})
	}
	return wasm.Open(wasm.Options{
		Name: "plugin", Module: s.program, Hello: hello, Services: o.services, Engine: o.engine, Purity: o.purity,
	})
}
