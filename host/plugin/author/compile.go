package author

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/trowel-build/trowel/host/plugin/manifest"
)

// Target is what a plugin is built to.
type Target string

// The targets.
const (
	Wasm   Target = "wasm"   // a module, for the sandbox
	Native Target = "native" // a program, for a process
)

// Optimize says whether a module is made smaller and faster with wasm-opt.
type Optimize string

// The choices for [Optimize].
const (
	OptimizeNot  Optimize = ""
	OptimizeWasm Optimize = "wasm-opt"
)

// BuildRequest says what is built.
type BuildRequest struct {
	Project  *Project
	Target   Target
	Optimize Optimize
	Output   string    // empty means [Project.Artifact]
	Log      io.Writer // what the compiler says
}

// Built is what was built.
type Built struct {
	File     string
	Size     int64
	Manifest manifest.Manifest
}

// Build compiles a project and puts its manifest into the program. The same sources make the same bytes.
func Build(ctx context.Context, r BuildRequest) (_ Built, err error) {
	m, err := r.Project.Manifest()
	if err != nil {
		return Built{}, err
	}
	dir, err := os.MkdirTemp("", "trowel-plugin-")
	if err != nil {
		return Built{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	raw := filepath.Join(dir, "plugin.wasm")
	if err := compile(ctx, r, raw); err != nil {
		return Built{}, fmt.Errorf("build plugin %q: %w", r.Project.Name, err)
	}
	if r.Optimize == OptimizeWasm {
		if err := optimize(ctx, r, raw); err != nil {
			return Built{}, fmt.Errorf("build plugin %q: %w", r.Project.Name, err)
		}
	}
	program, err := os.ReadFile(raw)
	if err != nil {
		return Built{}, err
	}
	if program, err = manifest.Append(program, m); err != nil {
		return Built{}, err
	}
	built := Built{File: r.Output, Size: int64(len(program)), Manifest: m}
	if built.File == "" {
		built.File = r.Project.Artifact(r.Target)
	}
	mode := os.FileMode(0o644)
	if r.Target == Native {
		mode = 0o755
	}
	return built, replaceFile(built.File, program, mode)
}

// replaceFile puts a file in the place of another, so that who runs the old one goes on doing so.
func replaceFile(name string, content []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".trowel-plugin-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func compile(ctx context.Context, r BuildRequest, to string) error {
	if r.Target == Native && r.Project.Language != Go {
		return fmt.Errorf("only plugins in Go can be built as native programs: this one is in %q; leave out --target", r.Project.Language)
	}
	switch r.Project.Language {
	case C:
		return compileC(ctx, r, to)
	case Rust:
		return compileRust(ctx, r, to)
	case AssemblyScript:
		return compileAssemblyScript(ctx, r, to)
	}
	return compileGo(ctx, r, to)
}

// source is the file that is compiled.
func (p *Project) source(fallback string) string {
	if p.Main != "" {
		return p.Main
	}
	return fallback
}

// tool is a program that a build runs.
type tool struct {
	name string
	dir  string
	env  []string // on top of this process's
	log  io.Writer
	// from says where to get it: an apt or npm package.
	from string
}

// run runs the tool. What it says goes to the log and, if it fails, into the error.
func (t tool) run(ctx context.Context, arguments ...string) error {
	path, err := exec.LookPath(t.name)
	if err != nil {
		return t.missing()
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, path, arguments...)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), t.env...)
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Run()
	if err == nil {
		if t.log != nil {
			_, err = t.log.Write(said.Bytes())
		}
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &CompileError{Tool: filepath.Base(t.name), Output: strings.TrimSpace(said.String()), Err: err}
}

func (t tool) missing() error {
	return &MissingToolError{Tool: t.name, From: t.from}
}

// CompileError says that a compiler did not accept a plugin.
type CompileError struct {
	Tool   string
	Output string // what it said
	Err    error
}

// Error has what the compiler said beneath its first line.
func (e *CompileError) Error() string {
	return fmt.Sprintf("%s: %v\n%s", e.Tool, e.Err, e.Output)
}

// Unwrap returns how the compiler ended.
func (e *CompileError) Unwrap() error { return e.Err }

// MissingToolError says that a program is not there, and where to get it.
type MissingToolError struct {
	Tool string
	From string
}

// Error names the program.
func (e *MissingToolError) Error() string { return fmt.Sprintf("%q is not installed", e.Tool) }

// Hint says where to get the program.
func (e *MissingToolError) Hint() string { return e.From }

// optimize runs wasm-opt in the way that leaves a module which Trowel's runtime takes.
func optimize(ctx context.Context, r BuildRequest, file string) error {
	if r.Target != Wasm {
		return errors.New("--optimize is for WebAssembly modules")
	}
	t := tool{name: "wasm-opt", log: r.Log, from: "apt-get install binaryen"}
	return t.run(ctx, "-O2", "--enable-bulk-memory", "--enable-sign-ext", "--enable-nontrapping-float-to-int",
		"--enable-mutable-globals", "--strip-debug", "--strip-producers", file, "-o", file)
}
