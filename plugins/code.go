package plugins

import (
	"io"
	"path"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// Code opens the machine code of a module that make plugins compiled for a target, or is nil if this binary has none. The module
// is named by its SHA-256.
func Code(module, target string) func() (io.ReadCloser, error) {
	name := path.Join("code", runtime.GOARCH, CodeFile(module, target))
	if f, err := code.Open(name); err != nil {
		return nil
	} else if err := f.Close(); err != nil {
		return nil
	}
	return func() (io.ReadCloser, error) {
		f, err := code.Open(name)
		if err != nil {
			return nil, err
		}
		const workers = 2 // one decodes what the other puts together
		r, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(workers))
		if err != nil {
			return nil, err
		}
		return r.IOReadCloser(), nil
	}
}

// CodeFile is the name of the file in which the code of a module for a target lies.
func CodeFile(module, target string) string { return module + "." + target + ".zst" }
