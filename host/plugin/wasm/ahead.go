package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
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

// Code that was compiled ahead is a file of wazero's compilation cache: first its name there, in hexadecimal, then the hollow module
// with which the code is loaded, and which the name is for, after the number of its bytes, then the file.
//
// It never gets into the directory of the engine: wazero verifies the code in such a file, but not the table before it, so that a
// file that a crash tore could be believed. It is read from a pipe instead, into which it is unpacked at the same time.

const (
	aheadName = sha256.Size * 2
	// aheadFormat is a part of the target, so that code which this program would not find is not taken for its own.
	aheadFormat = "3"
	// aheadRoom is how many bytes may be unpacked that wazero has not read yet: as many as any user may have.
	aheadRoom = 1 << 20
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
	out := binary.LittleEndian.AppendUint32([]byte(name), uint32(len(shell)))
	return append(append(out, shell...), code...), nil
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
func (e *Engine) carried(ctx context.Context, open func() (io.ReadCloser, error)) (*tier, error) {
	dir, err := os.MkdirTemp(e.loading(), "ahead-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // there is a link in it, and nobody looks at it again
	code := make(chan *aheadCode, 1)
	go func() { code <- openAhead(open) }()
	t, err := prepareAhead(ctx, dir)
	a := <-code
	if err = errors.Join(err, a.err); err == nil {
		err = t.loadAhead(ctx, a, filepath.Join(dir, runtimeDir()))
	}
	if err = errors.Join(err, a.close()); err != nil {
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
func (t *tier) loadAhead(ctx context.Context, a *aheadCode, dir string) error {
	entry := filepath.Join(dir, a.name)
	place := fmt.Sprintf("/proc/self/fd/%d", a.out.Fd())
	if err := os.Symlink(place, entry); err != nil {
		return err
	}
	if err := t.load(ctx, a.shell); err != nil {
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

// aheadCode is code that is unpacked into a pipe, from which wazero reads it meanwhile: as a file of its directory.
type aheadCode struct {
	name   string
	shell  []byte
	out    *os.File // the end of the pipe that wazero opens once more
	packed io.ReadCloser
	done   chan error // what came of unpacking
	err    error
}

// openAhead starts to unpack; [aheadCode.close] ends it.
func openAhead(open func() (io.ReadCloser, error)) *aheadCode {
	a := &aheadCode{}
	if a.packed, a.err = open(); a.err == nil {
		a.err = a.start()
	}
	return a
}

func (a *aheadCode) start() error {
	head := make([]byte, aheadName+4)
	if _, err := io.ReadFull(a.packed, head); err != nil {
		return err
	}
	a.name = string(head[:aheadName])
	if _, err := hex.DecodeString(a.name); err != nil { // no path of some other sort
		return err
	}
	size := binary.LittleEndian.Uint32(head[aheadName:])
	if size > MaxModule {
		return fmt.Errorf("the hollow module has %d bytes", size)
	}
	a.shell = make([]byte, size)
	if _, err := io.ReadFull(a.packed, a.shell); err != nil {
		return err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	// Fewer turns between the two. What is not granted does no harm.
	_, _ = unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, aheadRoom)
	a.out, a.done = out, make(chan error, 1)
	go func() {
		_, err := io.Copy(in, a.packed)
		a.done <- errors.Join(err, in.Close())
	}()
	return nil
}

// close ends the unpacking, and returns what was wrong with it. Code of which nobody read all is not wrong for that.
func (a *aheadCode) close() error {
	var err error
	if a.out != nil {
		err = a.out.Close() // so that nobody waits for it to be read
		if unpacked := <-a.done; !errors.Is(unpacked, unix.EPIPE) {
			err = errors.Join(err, unpacked)
		}
	}
	if a.packed != nil {
		err = errors.Join(err, a.packed.Close())
	}
	return err
}
