package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// Code that was compiled ahead is a file of wazero's compilation cache: first its name there, in hexadecimal, then the file. The
// name is that for the hollow module, with which the code is loaded.
//
// It never gets into the directory of the engine: wazero verifies the code in such a file, but not the table before it, so that a
// file that a crash tore could be believed. It is unpacked into memory instead, which takes no longer than to read it from a disk.

const (
	aheadName = sha256.Size * 2
	// aheadFormat is a part of the target, so that code which this program would not find is not taken for its own.
	aheadFormat = "2"
)

var errNotTaken = errors.New("the runtime did not take the code that was compiled ahead")

// Target names what compiled code depends on besides the module: the runtime, the platform, the abilities of this processor
// that the compiler uses where they are there, and how it is kept.
func Target() string {
	parts := []string{runtimeDir()}
	for _, f := range []struct {
		arch, name string
		has        bool
	}{
		{"amd64", "sse4.1", cpu.X86.HasSSE41},
		{"amd64", "bmi1", cpu.X86.HasBMI1},
		{"amd64", "abm", cpu.X86.HasBMI1 && cpu.X86.HasBMI2 && cpu.X86.HasPOPCNT},
		{"arm64", "atomics", cpu.ARM64.HasATOMICS},
	} {
		if f.arch == runtime.GOARCH && f.has {
			parts = append(parts, f.name)
		}
	}
	return strings.Join(append(parts, aheadFormat), "-")
}

// runtimeDir is how wazero names the part of a compilation cache that is its own.
func runtimeDir() string {
	version := "dev"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/tetratelabs/wazero" && dep.Version != "" {
				version = dep.Version
			}
		}
	}
	return "wazero-" + version + "-" + runtime.GOARCH + "-" + runtime.GOOS
}

// CompileAhead compiles a module for this processor and those that have the same [Target], for [Engine.Ahead].
func CompileAhead(ctx context.Context, module []byte) ([]byte, error) {
	info, err := Inspect(module)
	if err != nil {
		return nil, err
	}
	if err := info.check(4 << 30); err != nil {
		return nil, err
	}
	shell, err := hollow(module)
	if err != nil {
		return nil, err
	}
	name, _, err := compileEntry(ctx, shell)
	if err != nil {
		return nil, err
	}
	_, code, err := compileEntry(ctx, module)
	if err != nil {
		return nil, err
	}
	return append([]byte(name), code...), nil
}

// compileEntry compiles a module and returns what wazero stores of it, and under which name.
func compileEntry(ctx context.Context, module []byte) (name string, code []byte, err error) {
	dir, err := os.MkdirTemp("", "trowel-ahead-")
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cache, err := openCache(dir)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, cache.Close(ctx)) }()
	t, err := newTier(ctx, wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache), module)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, t.close(ctx)) }()
	files, err := filepath.Glob(filepath.Join(dir, runtimeDir(), "*"))
	if err != nil || len(files) != 1 || len(filepath.Base(files[0])) != aheadName {
		return "", nil, fmt.Errorf("look for the compiled module: found %q, %w", files, errors.Join(err, errNotTaken))
	}
	code, err = os.ReadFile(files[0])
	return filepath.Base(files[0]), code, err
}

// carried makes a tier of the code that the program carries.
func (c *compiled) carried(ctx context.Context, module []byte) (*tier, error) {
	dir, err := os.MkdirTemp(c.engine.loading(), "ahead-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // there is a link in it, and nobody looks at it again
	unpacked := make(chan *aheadCode, 1)
	go func() { unpacked <- unpackAhead(c.ahead) }()
	t, err := prepareAhead(ctx, dir)
	shell, hollowErr := hollow(module)
	code := <-unpacked
	defer code.close()
	if err = errors.Join(err, hollowErr, code.err); err == nil {
		err = t.loadAhead(ctx, shell, code, filepath.Join(dir, runtimeDir()))
	}
	if err != nil {
		if t != nil {
			err = errors.Join(err, t.close(context.WithoutCancel(ctx)))
		}
		return nil, err
	}
	return t, nil
}

// prepareAhead makes a tier that is to take its code from a directory.
func prepareAhead(ctx context.Context, dir string) (*tier, error) {
	cache, err := openCache(dir)
	if err != nil {
		return nil, err
	}
	t, err := newRuntime(ctx, wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache))
	if err != nil {
		return nil, errors.Join(err, cache.Close(ctx))
	}
	t.cache = cache
	return t, nil
}

// loadAhead loads a hollow module, and sees to it that the runtime has taken the code: what it would make of the module itself does
// nothing. Nobody else uses the directory.
func (t *tier) loadAhead(ctx context.Context, shell []byte, a *aheadCode, dir string) error {
	entry := filepath.Join(dir, a.name)
	place := fmt.Sprintf("/proc/self/fd/%d", a.file.Fd())
	if err := os.Symlink(place, entry); err != nil {
		return err
	}
	if err := t.load(ctx, shell); err != nil {
		return err
	}
	// A module that it compiles instead, it stores: under another name, or in this place.
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if now, err := os.Readlink(entry); err != nil || now != place || len(files) != 1 {
		return errNotTaken
	}
	return nil
}

// aheadCode is code in memory, as wazero reads it.
type aheadCode struct {
	name string
	file *os.File
	err  error
}

func unpackAhead(open func() (io.ReadCloser, error)) *aheadCode {
	a := &aheadCode{}
	a.err = a.unpack(open)
	return a
}

func (a *aheadCode) unpack(open func() (io.ReadCloser, error)) (err error) {
	packed, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, packed.Close()) }()
	name := make([]byte, aheadName)
	if _, err := io.ReadFull(packed, name); err != nil {
		return err
	}
	if _, err := hex.DecodeString(string(name)); err != nil { // no path of some other sort
		return err
	}
	a.name = string(name)
	fd, err := unix.MemfdCreate("trowel-code", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.3
		fd, err = unix.MemfdCreate("trowel-code", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	a.file = os.NewFile(uintptr(fd), "trowel-code")
	_, err = io.Copy(a.file, packed)
	return err
}

func (a *aheadCode) close() {
	if a.file != nil {
		_ = a.file.Close() // it is memory
	}
}
