package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/trowel-build/trowel/host/plugin/manifest"
)

// unwrap returns the program that a layer is or has in it: the bytes decide, whatever their media type. A layer may be a
// program, or a tar with one, and either may be compressed with gzip.
func unwrap(layer []byte) ([]byte, manifest.Platform, error) {
	if bytes.HasPrefix(layer, []byte("\x1f\x8b")) {
		inner, err := gunzip(layer)
		if err != nil {
			return nil, "", err
		}
		layer = inner
	}
	if isTar(layer) {
		inner, err := untar(layer)
		if err != nil {
			return nil, "", err
		}
		layer = inner
	}
	platform, err := manifest.Identify(layer)
	if err != nil {
		return nil, "", fmt.Errorf("it is no plugin: %w", err)
	}
	return layer, platform, nil
}

func gunzip(layer []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		return nil, fmt.Errorf("decompress plugin: %w", err)
	}
	inner, err := io.ReadAll(io.LimitReader(r, maxProgram+1))
	if err != nil {
		return nil, fmt.Errorf("decompress plugin: %w", err)
	}
	if len(inner) > maxProgram {
		return nil, fmt.Errorf("decompress plugin: it has more than %d bytes", maxProgram)
	}
	return inner, nil
}

// isTar looks for the magic of POSIX and GNU archives.
func isTar(b []byte) bool { return len(b) >= 512 && bytes.Equal(b[257:262], []byte("ustar")) }

// untar returns the program in an archive: the only one, or the one named plugin.wasm.
func untar(archive []byte) ([]byte, error) {
	var found []byte
	programs, total := 0, int64(0)
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("unpack plugin: %w", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if total += h.Size; h.Size > int64(len(archive)) || total > int64(len(archive)) { // sparse files may claim any size
			return nil, errors.New("unpack plugin: the archive's files are larger than the archive")
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, fmt.Errorf("unpack plugin: %w", err)
		}
		if _, err := manifest.Identify(content); err != nil {
			continue
		}
		programs++
		if path.Base(path.Clean(h.Name)) == "plugin.wasm" {
			return content, nil
		}
		found = content
	}
	if programs != 1 {
		return nil, fmt.Errorf("unpack plugin: the archive has %d programs, and none is plugin.wasm", programs)
	}
	return found, nil
}
