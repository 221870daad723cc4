//go:build !wasip1

package abi

import (
	"io"
	"os"
)

// openFile is apart from guests, which need no files.
func openFile(name string) (io.ReadCloser, error) { return os.Open(name) }
