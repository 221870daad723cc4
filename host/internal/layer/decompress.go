package layer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/layer/inflate"
)

// maxWindow is the memory that a zstd stream may ask for: that of level 19, and of zstd's own default limit.
const maxWindow = 128 << 20

// decompressor yields the uncompressed bytes of a layer, whose first bytes say how it is compressed: media types have
// been wrong, and the other engines look at the bytes too.
type decompressor struct {
	io.Reader
	compression image.Compression
	close       func()
}

func newDecompressor(r io.Reader) (*decompressor, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	magic, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch sniff(magic) {
	case image.Gzip:
		z, err := inflate.NewReader(in)
		if err != nil {
			return nil, compressedError("gzip", err)
		}
		return &decompressor{Reader: &named{z, "gzip"}, compression: image.Gzip, close: func() {}}, nil
	case image.Zstd:
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, compressedError("zstd", err)
		}
		return &decompressor{Reader: &named{z, "zstd"}, compression: image.Zstd, close: z.Close}, nil
	}
	return &decompressor{Reader: in, compression: image.Uncompressed, close: func() {}}, nil
}

// sniff knows the magic numbers of gzip (RFC 1952) and of zstd's frames (RFC 8878), skippable ones among them.
func sniff(magic []byte) image.Compression {
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return image.Gzip
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return image.Zstd
	case len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18}):
		return image.Zstd
	}
	return image.Uncompressed
}

// named is a reader whose errors say what stream was damaged.
type named struct {
	r    io.Reader
	name string
}

func (n *named) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = compressedError(n.name, err)
	}
	return k, err
}

func compressedError(name string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("its %s stream is cut off: %w", name, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("decompress %s: %w", name, err)
}
