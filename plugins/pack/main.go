// Command pack prepares what package plugins embeds. "pack FILE.wasm..." compresses compiled plugins: it makes FILE.wasm.zst of each
// and FILE.wasm.sha256, and removes it. "pack -code DIR", built when that is done, compiles those that it embeds itself to machine code for the processor
// that it runs on, or is emulated; in DIR it leaves what it finds made already, and nothing of other modules.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/trowel-build/trowel/host/plugin/wasm"
	"github.com/trowel-build/trowel/plugins"
)

func main() {
	code := flag.String("code", "", "compile the plugins that are embedded to machine code in this `DIR`")
	flag.Parse()
	if err := run(context.Background(), *code, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "pack: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, code string, files []string) error {
	for _, file := range files {
		if err := pack(file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if code == "" {
		return nil
	}
	var modules [][]byte
	for _, name := range plugins.Names() {
		module, err := plugins.Module(name)
		if err != nil {
			return err
		}
		modules = append(modules, module)
	}
	return compileAll(ctx, code, modules)
}

func pack(name string) error {
	module, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(module)
	// The frame says how long the content is, so that it is unpacked into memory of just that size.
	return errors.Join(
		compress(name+".zst", module, zstd.WithSingleSegment(true)),
		os.WriteFile(name+plugins.DigestSuffix, []byte(hex.EncodeToString(sum[:])), 0o644),
		os.Remove(name),
	)
}

// compress writes a file, whole or not at all.
func compress(file string, content []byte, options ...zstd.EOption) error {
	w, err := zstd.NewWriter(nil, append(options, zstd.WithEncoderLevel(zstd.SpeedBestCompression))...)
	if err != nil {
		return err
	}
	temporary := file + ".tmp"
	return errors.Join(os.WriteFile(temporary, w.EncodeAll(content, nil), 0o644), w.Close(), os.Rename(temporary, file))
}

// compileAll makes the directory one with the code of these modules and no others.
func compileAll(ctx context.Context, dir string, modules [][]byte) error {
	var wanted []string
	for _, module := range modules {
		sum := sha256.Sum256(module)
		file := filepath.Join(dir, plugins.CodeFile(hex.EncodeToString(sum[:]), wasm.Target()))
		wanted = append(wanted, file)
		if _, err := os.Stat(file); err == nil {
			continue
		}
		code, err := wasm.CompileAhead(ctx, module)
		if err == nil {
			// A window that fits into a processor's cache: a larger one saves 100 kB and takes twice as long to unpack.
			err = compress(file, code, zstd.WithWindowSize(512<<10))
		}
		if err != nil {
			return fmt.Errorf("compile ahead for %s: %w", wasm.Target(), err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.zst*"))
	for _, file := range files {
		if !slices.Contains(wanted, file) {
			err = errors.Join(err, os.Remove(file))
		}
	}
	return err
}
