package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// compiledAhead is the probe's code, made once.
var compiledAhead = sync.OnceValues(func() ([]byte, error) {
	module, err := os.ReadFile(filepath.Join(shared.dir, "probe.wasm"))
	if err != nil {
		return nil, err
	}
	return CompileAhead(context.Background(), module)
})

// aheadCodeOf is the code of the probe as a program would carry it.
func aheadCodeOf(t *testing.T) []byte {
	t.Helper()
	build(t, "probe")
	code, err := compiledAhead()
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// carrying keeps compiled modules in a directory, for a program that carries code.
func carrying(t *testing.T, code []byte) (e *Engine, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "compiled")
	e, err := NewEngine(dir)
	if err != nil {
		t.Fatal(err)
	}
	e.Ahead = func(module, target string) func() (io.ReadCloser, error) {
		if target != Target() || len(module) != aheadName {
			t.Errorf("asked for the code of %q for %q", module, target)
		}
		return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(code)), nil }
	}
	return e, dir
}

// filesIn are all files below a directory.
func filesIn(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestAhead: a module whose code the program carries starts compiled, and leaves nothing behind.
func TestAhead(t *testing.T) {
	t.Parallel()
	e, dir := carrying(t, aheadCodeOf(t))
	a := open(t, Options{Engine: e, CompileAfter: time.Hour})
	if got := call(t, a, opEcho, "x"); got != "x" {
		t.Errorf("answer %q", got)
	}
	b := open(t, Options{Engine: e, CompileAfter: time.Hour}) // of the same module
	if got := call(t, b, opCount, ""); got != "1" {
		t.Errorf("answer %q", got)
	}
	for _, p := range []*Plugin{a, b} {
		if now := p.pool.current(); now.interpreted || now.cache == nil {
			t.Error("the code that the program carries was not used")
		}
	}
	if files := filesIn(t, dir); len(files) > 0 {
		t.Errorf("files are left: %v", files)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "ahead-*")); err != nil || len(left) > 0 {
		t.Errorf("directories are left: %v, %v", left, err)
	}
}

// TestAheadScratch: it takes no directory that modules are kept in.
func TestAheadScratch(t *testing.T) {
	t.Parallel()
	e, dir := carrying(t, aheadCodeOf(t))
	e.dir, e.Scratch = "", dir
	p := open(t, Options{Engine: e, CompileAfter: time.Hour})
	if got := call(t, p, opEcho, "x"); got != "x" || p.pool.current().interpreted {
		t.Errorf("answer %q, interpreted %t", got, p.pool.current().interpreted)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestAheadOfNoUse: whatever is wrong with the code, the module works as it would without.
func TestAheadOfNoUse(t *testing.T) {
	t.Parallel()
	code := aheadCodeOf(t)
	changed := func(at int) []byte {
		wrong := bytes.Clone(code)
		wrong[at] ^= 0x40
		return wrong
	}
	header := aheadName + 4 + int(binary.LittleEndian.Uint32(code[aheadName:])) + len("WAZEVO") + 1
	for name, wrong := range map[string][]byte{
		"empty":                        {},
		"without the code":             code[:aheadName],
		"cut short":                    code[:len(code)-len(code)/4],
		"without a hollow module":      code[:aheadName+4],
		"with a cut hollow module":     code[:aheadName+100],
		"with an endless module":       slices.Concat(code[:aheadName], []byte{0xff, 0xff, 0xff, 0xff}, code[aheadName+4:]),
		"for another runtime":          changed(header),
		"under a name of another kind": append([]byte(strings.Repeat("../", aheadName)[:aheadName]), code[aheadName:]...),
		"for another processor":        append([]byte(strings.Repeat("0", aheadName)), code[aheadName:]...),
		"damaged":                      changed(len(code) - len(code)/4),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, _ := carrying(t, wrong)
			p := open(t, Options{Engine: e, CompileAfter: time.Hour})
			if got := call(t, p, opEcho, "x"); got != "x" {
				t.Errorf("answer %q", got)
			}
			if err := p.Compile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if now := p.pool.current(); now.interpreted || now.cache != nil {
				t.Error("the code that the program carries was used")
			}
			if got := call(t, p, opEcho, "y"); got != "y" {
				t.Errorf("answer %q", got)
			}
		})
	}
}

// TestAheadInVain: without code, or a place to load it from, the interpreter comes first.
func TestAheadInVain(t *testing.T) {
	t.Parallel()
	code := aheadCodeOf(t)
	for name, prepare := range map[string]func(e *Engine, dir string) error{
		"no code for this processor": func(e *Engine, _ string) error {
			e.Ahead = func(string, string) func() (io.ReadCloser, error) { return nil }
			return nil
		},
		"nowhere to keep modules": func(e *Engine, _ string) error { e.dir = ""; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, dir := carrying(t, code)
			if err := prepare(e, dir); err != nil {
				t.Fatal(err)
			}
			p := open(t, Options{Engine: e, CompileAfter: time.Hour})
			if got := call(t, p, opEcho, "x"); got != "x" || !p.pool.current().interpreted {
				t.Errorf("answer %q, interpreted %t", got, p.pool.current().interpreted)
			}
		})
	}
	t.Run("the directory is gone", func(t *testing.T) {
		t.Parallel()
		e, dir := carrying(t, code)
		p := open(t, Options{Engine: e, CompileAfter: time.Hour})
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if got := call(t, p, opEcho, "x"); got != "x" {
			t.Errorf("answer %q", got)
		}
	})
	t.Run("it cannot be read", func(t *testing.T) {
		t.Parallel()
		e, _ := carrying(t, code)
		e.Ahead = func(string, string) func() (io.ReadCloser, error) {
			return func() (io.ReadCloser, error) { return nil, errors.New("no") }
		}
		if got := call(t, open(t, Options{Engine: e, CompileAfter: time.Hour}), opEcho, "x"); got != "x" {
			t.Errorf("answer %q", got)
		}
	})
}

// pieces are how many pieces of data a module has.
func pieces(t *testing.T, module []byte) uint64 {
	t.Helper()
	for d := (&decoder{rest: module[8:]}); len(d.rest) > 0; {
		if id, body := d.byte(), (&decoder{rest: d.bytes(d.number())}); id == sectionData {
			return body.number()
		}
	}
	t.Fatal("the module has no data")
	return 0
}

// TestJoined: memory looks the same afterwards, and what cannot be joined stays as it is.
func TestJoined(t *testing.T) {
	t.Parallel()
	at := func(start int32, content string) string {
		return string(append(appendSigned([]byte{0x00, 0x41}, start), 0x0b, byte(len(content)))) + content
	}
	for name, tt := range map[string]struct{ data, want string }{
		"side by side":           {"\x02" + at(64, "ab") + at(66, "c"), "\x01" + at(64, "abc")},
		"a small gap":            {"\x02" + at(0, "ab") + at(4, "c"), "\x01" + at(0, "ab\x00\x00c")},
		"a large gap":            {"\x03" + at(0, "ab") + at(1000, "c") + at(1001, "d"), "\x02" + at(0, "ab") + at(1000, "cd")},
		"the upper half":         {"\x02" + at(-16, "ab") + at(-14, "c"), "\x01" + at(-16, "abc")},
		"one over another":       {"\x02" + at(64, "ab") + at(65, "c"), ""},
		"backwards":              {"\x02" + at(66, "c") + at(64, "ab"), "\x01" + at(64, "abc")},
		"passive":                {"\x02" + at(64, "ab") + "\x01\x01c", ""},
		"of another memory":      {"\x01" + "\x02\x00\x41\x00\x0b\x01c", ""},
		"at a global's value":    {"\x01" + "\x00\x23\x00\x0b\x01c", ""},
		"an expression":          {"\x01" + "\x00\x41\x00\x41\x00\x6a\x0b\x01c", ""},
		"none":                   {"\x00", "\x00"},
		"a gap that is none":     {"\x03" + at(70, "x") + at(64, "ab") + at(80, "c"), "\x01" + at(64, "ab\x00\x00\x00\x00x\x00\x00\x00\x00\x00\x00\x00\x00\x00c")},
		"it ends early":          {"\x02" + at(64, "ab"), ""},
		"it goes on":             {"\x01" + at(64, "ab") + "x", ""},
		"a number that is large": {"\x01\x00\x41\xff\xff\xff\xff\x0f\x0b\x01c", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := tt.want
			if want == "" {
				want = tt.data
			}
			if got := string(joined([]byte(tt.data))); got != want {
				t.Errorf("joined %q: %q, want %q", tt.data, got, want)
			}
		})
	}
}

// TestHollow: what is left of a module is all that can be seen of it, and its functions do nothing.
func TestHollow(t *testing.T) {
	t.Parallel()
	module := build(t, "probe")
	shell, err := hollow(module)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := Inspect(module)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := Inspect(shell)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(whole, rest, cmp.AllowUnexported(Info{})); diff != "" {
		t.Errorf("the hollow module differs (-whole +hollow):\n%s", diff)
	}
	if len(shell) > len(module)*2/3 {
		t.Errorf("%d of %d bytes are left", len(shell), len(module))
	}
	for n := range min(len(module), 4096) {
		if _, err := hollow(module[:n]); err == nil && n > 8 {
			// A module that ends between two sections is whole as far as its sections go.
			if _, err := Inspect(module[:n]); err != nil {
				t.Errorf("%d bytes of the module: Inspect says %v", n, err)
			}
		}
	}
	if n, in := pieces(t, module), pieces(t, shell); in >= n {
		t.Errorf("the data are in %d pieces, and were in %d", in, n)
	}
	many := binary.AppendUvarint([]byte("\x00asm\x01\x00\x00\x00\x0a\x05"), 1<<31)
	if _, err := hollow(many); err == nil {
		t.Error("a module with more functions than bytes was accepted")
	}
}
