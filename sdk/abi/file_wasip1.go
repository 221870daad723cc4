package abi

import "io"

// openFile is the host's: a guest has no files.
func openFile(string) (io.ReadCloser, error) { return nil, unsupported("a guest cannot open files") }
