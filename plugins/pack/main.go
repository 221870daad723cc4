// Command pack compresses compiled plugins for package plugins: "pack FILE.wasm..." makes FILE.wasm.zst of each and removes
// it.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/klauspost/compress/zstd"
)

func main() {
	for _, name := range os.Args[1:] {
		if err := pack(name); err != nil {
			fmt.Fprintf(os.Stderr, "pack %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func pack(name string) error {
	module, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	// The frame says how long the content is, so that it is unpacked into memory of just that size.
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithSingleSegment(true))
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(name+".zst", w.EncodeAll(module, nil), 0o644), w.Close(), os.Remove(name))
}
