package wasm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/sdk"
)

// Engine keeps compiled modules, in memory while a plugin uses them and in a directory for the next process. Plugins that
// share an Engine compile a module once. It is safe for concurrent use.
//
// What is in the directory is machine code that later processes run: it must not be reachable for anybody else, least of all
// for the RUN steps of a build. Each module has a directory of its own in it, named by its SHA-256.
type Engine struct {
	// Ahead opens what [CompileAhead] made of a module, which the program then carries in itself. The module is named by its
	// SHA-256 and the code by its [Target]; a nil function says that there is none. It must be set before the first module is
	// opened, and is as trusted as the program.
	Ahead func(module, target string) func() (io.ReadCloser, error)
	// Scratch is a directory of ours alone, in which a link lies while such code is loaded where the Engine has none to keep modules.
	Scratch string

	dir string

	mu   sync.Mutex
	kept map[digest]*compiled
	// prefetched are modules that are loaded and that nobody has taken, by their SHA-256 in hexadecimal.
	prefetched map[string]*prefetched
}

type digest [sha256.Size]byte

// compiled is what is kept of a module.
type compiled struct {
	engine *Engine
	digest digest
	dir    string                        // empty: in memory alone
	ahead  func() (io.ReadCloser, error) // opens code that was compiled ahead; nil if there is none
	cache  wazero.CompilationCache
	users  int
	turn   chan struct{} // holds a token while somebody compiles
}

// NewEngine keeps compiled modules in a directory, which it makes if need be; dir "" means in memory alone.
func NewEngine(dir string) (*Engine, error) {
	if dir != "" {
		if err := makePrivate(dir); err != nil {
			return nil, &sdk.Error{Code: sdk.CodeDenied, Message: err.Error()}
		}
	}
	return &Engine{dir: dir, kept: map[digest]*compiled{}}, nil
}

// makePrivate makes a directory that only we can write to, or says why one that is there is not like that.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for compiled plugins: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("inspect the directory for compiled plugins %q: %w", dir, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("directory for compiled plugins %q: it is not a directory itself", dir)
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("directory for compiled plugins %q: it belongs to user %d, and must be ours because what is in it will be executed", dir, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("directory for compiled plugins %q: others can write to it, and what is in it will be executed: chmod 0700", dir)
	}
	return nil
}

// keep returns what is kept of a module; [compiled.release] ends its use.
func (e *Engine) keep(module []byte) (*compiled, error) {
	sum := digest(sha256.Sum256(module))
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.kept[sum]
	if !ok {
		c = &compiled{engine: e, digest: sum, turn: make(chan struct{}, 1)}
		if e.dir != "" {
			c.dir = filepath.Join(e.dir, hex.EncodeToString(sum[:]))
		}
		if e.Ahead != nil && e.loading() != "" {
			c.ahead = e.Ahead(hex.EncodeToString(sum[:]), Target())
		}
		var err error
		if c.cache, err = openCache(c.dir); err != nil {
			return nil, err
		}
		e.kept[sum] = c
	}
	c.users++
	return c, nil
}

// loading is where code that was compiled ahead is loaded from.
func (e *Engine) loading() string { return cmp.Or(e.dir, e.Scratch) }

// wazeroSetup serialises what in wazero reads and writes the variable that holds its version, without a lock of its own.
var wazeroSetup sync.Mutex

func openCache(dir string) (wazero.CompilationCache, error) {
	if dir == "" {
		return wazero.NewCompilationCache(), nil
	}
	if err := makePrivate(dir); err != nil {
		return nil, err
	}
	wazeroSetup.Lock()
	defer wazeroSetup.Unlock()
	return wazero.NewCompilationCacheWithDir(dir)
}

// quick reports whether a compiled module is likely to be had without compiling it.
func (c *compiled) quick() bool { return c.ahead != nil || c.stored() }

// stored reports whether the directory has something for the module. It may be for another version of the runtime, or for
// another processor: that shows when it is loaded.
func (c *compiled) stored() bool {
	if c.dir == "" {
		return false
	}
	versions, err := os.ReadDir(c.dir)
	for _, version := range versions {
		files, readErr := os.ReadDir(filepath.Join(c.dir, version.Name()))
		if err == nil && readErr == nil && len(files) > 0 {
			return true
		}
	}
	return false
}

// tier compiles the module, or loads it if it was compiled before. Of those who ask at once, one compiles.
func (c *compiled) tier(ctx context.Context, module []byte) (*tier, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c.ahead != nil {
		// What is wrong with such code, if anything, does not keep the module from being compiled.
		if t, err := c.loadCarried(ctx); err == nil || ctx.Err() != nil {
			return t, err
		}
	}
	t, err := newTier(ctx, wazero.NewRuntimeConfig().WithCompilationCache(c.cache), module)
	if err == nil || ctx.Err() != nil || !c.stored() {
		return t, err
	}
	// What was stored may be damaged. It is dropped, for the next process to store anew.
	if removeErr := os.RemoveAll(c.dir); removeErr != nil {
		return nil, errors.Join(err, removeErr)
	}
	return newTier(ctx, wazero.NewRuntimeConfig(), module)
}

// loadCarried makes a tier of the code that the program carries, or takes the one that is being made.
func (c *compiled) loadCarried(ctx context.Context) (*tier, error) {
	if f := c.engine.take(hex.EncodeToString(c.digest[:])); f != nil {
		<-f.done
		return f.tier, f.err
	}
	return c.engine.carried(ctx, c.ahead)
}

// release ends a use. The last one frees what is in memory.
func (c *compiled) release(ctx context.Context) error {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	if c.users--; c.users > 0 {
		return nil
	}
	delete(c.engine.kept, c.digest)
	return c.cache.Close(ctx)
}
