package author

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// compileGo builds a package. Neither the time nor the place is in the result: -trimpath, and no version control stamp.
func compileGo(ctx context.Context, r BuildRequest, to string) error {
	t := tool{name: "go", dir: r.Project.Dir, log: r.Log, from: "install Go 1.26 or newer from https://go.dev/dl", env: []string{"CGO_ENABLED=0"}}
	arguments := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", to}
	if r.Target == Wasm {
		t.env = append(t.env, "GOOS=wasip1", "GOARCH=wasm")
		arguments = append(arguments, "-buildmode=c-shared")
	}
	arguments = append(append(arguments, r.Project.Arguments...), "./"+r.Project.source("."))
	return t.run(ctx, arguments...)
}

// compileC compiles one file without a C library: trowel.h needs none.
func compileC(ctx context.Context, r BuildRequest, to string) (err error) {
	if _, err := exec.LookPath("wasm-ld"); err != nil {
		return &MissingToolError{Tool: "wasm-ld", From: "apt-get install lld"}
	}
	t := tool{name: "clang", dir: r.Project.Dir, log: r.Log, from: "apt-get install clang lld"}
	object := to + ".o"
	defer func() {
		if gone := os.Remove(object); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	// In two steps: where it optimises, clang has the linker's result worked over by a wasm-opt it finds, which may be too
	// old for what it is given.
	compile := []string{
		"--target=wasm32", "-c", "-std=c11", "-O2", "-mbulk-memory", "-ffreestanding", "-fvisibility=hidden", "-Wall", "-Wextra",
		"-ffile-prefix-map=" + r.Project.Dir + "=.",
	}
	compile = append(append(compile, r.Project.Arguments...), "-o", object, r.Project.source("plugin.c"))
	if err := t.run(ctx, compile...); err != nil {
		return err
	}
	return t.run(ctx, "--target=wasm32", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=65536", "-Wl,--stack-first", "-o", to, object)
}

const rustTarget = "wasm32-unknown-unknown"

const rustFrom = "apt-get install rustc libstd-rust-dev-wasm32 lld, or rustup target add " + rustTarget

// compileRust compiles one file, and the modules that it names, with a compiler that has the target.
func compileRust(ctx context.Context, r BuildRequest, to string) error {
	rustc, linker, err := findRust(ctx)
	if err != nil {
		return err
	}
	t := tool{name: rustc, dir: r.Project.Dir, log: r.Log, from: rustFrom}
	arguments := []string{
		"--edition=2021", "--target=" + rustTarget, "--crate-type=cdylib", "--crate-name=plugin", "-Copt-level=s", "-Clto=fat", "-Cpanic=abort",
		"-Ccodegen-units=1", "-Cstrip=symbols", "--remap-path-prefix=" + r.Project.Dir + "=.",
	}
	if linker != "" {
		arguments = append(arguments, "-Clinker="+linker)
	}
	arguments = append(append(arguments, r.Project.Arguments...), "-o", to, r.Project.source("plugin.rs"))
	return t.run(ctx, arguments...)
}

// findRust finds a compiler that has the standard library of the target. A machine may have two: rustup's, which stands
// before the distribution's in PATH, and has the target only if it was added.
func findRust(ctx context.Context) (rustc, linker string, err error) {
	candidates := []string{os.Getenv("RUSTC")}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		candidates = append(candidates, filepath.Join(dir, "rustc"))
	}
	found := false
	for _, c := range candidates {
		if c == "" {
			continue
		}
		if _, err := exec.LookPath(c); err != nil {
			continue
		}
		found = true
		lib, err := exec.CommandContext(ctx, c, "--print", "target-libdir", "--target", rustTarget).Output()
		if err != nil {
			continue
		}
		if std, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(lib)), "libstd-*.rlib")); len(std) == 0 {
			continue
		}
		linker, err := rustLinker(ctx, c)
		return c, linker, err
	}
	if found {
		return "", "", &MissingToolError{Tool: "the Rust target " + rustTarget, From: rustFrom}
	}
	return "", "", &MissingToolError{Tool: "rustc", From: rustFrom}
}

// rustLinker is the linker to name: rustup's compiler has one of its own, Debian's has not.
func rustLinker(ctx context.Context, rustc string) (string, error) {
	root, err := exec.CommandContext(ctx, rustc, "--print", "sysroot").Output()
	if err != nil {
		return "", fmt.Errorf("ask %q for its directory: %w", rustc, err)
	}
	own, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "lib/rustlib/*/bin/rust-lld"))
	if err == nil && len(own) > 0 {
		return "", nil
	}
	if _, err := exec.LookPath("wasm-ld"); err != nil {
		return "", &MissingToolError{Tool: "wasm-ld", From: "apt-get install lld"}
	}
	return "wasm-ld", nil
}

// compileAssemblyScript compiles one file with the compiler that the project or the machine has.
func compileAssemblyScript(ctx context.Context, r BuildRequest, to string) error {
	asc := "asc"
	dir, err := filepath.Abs(r.Project.Dir)
	if err != nil {
		return err
	}
	for at := dir; ; at = filepath.Dir(at) {
		name := filepath.Join(at, "node_modules", ".bin", "asc")
		if _, err := os.Stat(name); err == nil {
			asc = name
			break
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	t := tool{name: asc, dir: dir, log: r.Log, from: "run `npm install` in " + r.Project.Dir + " (the npm package assemblyscript; node and npm come from apt-get install nodejs npm)"}
	arguments := []string{
		r.Project.source("plugin.ts"), "-o", to, "-O", "--runtime", "minimal", "--exportStart", "_initialize", "--use", "abort=trowel/trowelAbort",
	}
	return t.run(ctx, append(arguments, r.Project.Arguments...)...)
}
