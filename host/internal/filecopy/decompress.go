package filecopy

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxWindow bounds the memory that a zstd frame may ask for; the zstd tool has the same default.
const maxWindow = 128 << 20

// decompressor looks at how a file starts and returns what decompresses it, or nil if it is not compressed.
func decompressor(r *bufio.Reader) (io.ReadCloser, error) {
	head, err := r.Peek(6)
	if err != nil && len(head) < 4 {
		return nil, nil //nolint:nilerr // too short to be compressed
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b, 8}):
		return gzip.NewReader(r)
	case bytes.HasPrefix(head, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(r)), nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		x, err := xz.NewReader(r)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(x), nil
	case isZstd(binary.LittleEndian.Uint32(head)):
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, nil
}

// isZstd knows the magic numbers of RFC 8878: a frame, and those that are skipped.
func isZstd(magic uint32) bool {
	return magic == 0xfd2fb528 || magic&0xfffffff0 == 0x184d2a50
}
