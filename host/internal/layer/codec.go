package layer

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/trowel-build/trowel/host/internal/image"
)

const (
	// gzipBlock is how much one goroutine compresses at a time: a multiple of what the deflate encoder buffers, for
	// it stores a shorter rest badly. Smaller blocks cost speed, larger ones only memory.
	gzipBlock = 8 * 65535
	// gzipDict is deflate's window: with it as dictionary, cutting the stream costs no compression.
	gzipDict = 32 << 10
	// zstdBlock is the size of a frame. Frames know nothing of each other, so that small ones cost compression: those of
	// 1 MiB 1.1 % against those of 8 MiB, which would take eight times the memory.
	zstdBlock = 1 << 20
	rawBlock  = 256 << 10

	// maxJobs bounds the memory of one layer on machines with many cores.
	maxJobs = 16
	// blockMemory is what the blocks in flight may take together where a job does not need more.
	blockMemory = 32 << 20
)

// encoder compresses blocks, one after the other. What comes out must not depend on what it compressed before.
type encoder interface {
	// encode appends the compressed data of b to dst.
	encode(dst []byte, b *block) ([]byte, error)
}

// codec is a way to compress.
type codec struct {
	blockSize, dictSize int
	prologue            []byte
	newEncoder          func() (encoder, error)             // nil to leave the data as they are
	epilogue            func(crc uint32, size int64) []byte // what follows the last block; nil for nothing
}

// blocksFor is how many blocks keep jobs goroutines busy within bounded memory.
func (c codec) blocksFor(jobs int) int {
	return max(jobs+2, min(2*jobs+2, blockMemory/2/c.blockSize))
}

// newCodec returns the codec of a compression; level 0 stands for its default.
func newCodec(compression image.Compression, level int) (codec, error) {
	switch compression {
	case image.Uncompressed:
		if level == 0 {
			return codec{blockSize: rawBlock}, nil
		}
	case image.Gzip:
		if level >= 0 && level <= flate.BestCompression {
			return gzipCodec(level), nil
		}
	case image.Zstd:
		if level >= 0 && level <= 22 {
			return zstdCodec(level), nil
		}
	default:
		return codec{}, fmt.Errorf("unknown compression %q: gzip, zstd and uncompressed are known", compression)
	}
	return codec{}, fmt.Errorf("compression %q has no level %d: gzip has 1 to 9, zstd 1 to 22, and 0 is the default", compression, level)
}

// defaultGzipLevel is the fastest one whose output is about 5 % larger than that of gzip -6, and not 7.
const defaultGzipLevel = 5

func gzipCodec(level int) codec {
	if level == 0 {
		level = defaultGzipLevel
	}
	return codec{
		blockSize: gzipBlock, dictSize: gzipDict,
		// RFC 1952: deflate, no flags, no time, no extra flags, unknown operating system.
		prologue:   []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255},
		newEncoder: func() (encoder, error) { return newGzipEncoder(level) },
		epilogue: func(crc uint32, size int64) []byte {
			return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, crc), uint32(size))
		},
	}
}

// gzipEncoder compresses blocks into pieces of one deflate stream. All but the last end at a byte with an empty stored
// block; the dictionary lets matches reach back into the block before.
type gzipEncoder struct{ flate *flate.Writer }

func newGzipEncoder(level int) (*gzipEncoder, error) {
	w, err := flate.NewWriter(io.Discard, level)
	return &gzipEncoder{w}, err
}

func (e *gzipEncoder) encode(dst []byte, b *block) ([]byte, error) {
	out := appender{dst}
	e.flate.ResetDict(&out, b.dict)
	if _, err := e.flate.Write(b.data); err != nil {
		return nil, err
	}
	end := e.flate.Flush
	if b.place == final {
		end = e.flate.Close
	}
	err := end()
	return out.b, err
}

// appender is a writer that appends.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

// zstdCodec makes a frame of each block, which is a valid stream: RFC 8878, section 3.
func zstdCodec(level int) codec {
	speed := zstd.SpeedDefault
	if level != 0 {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	return codec{
		blockSize: zstdBlock,
		newEncoder: func() (encoder, error) {
			w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(speed),
				zstd.WithWindowSize(zstdBlock), zstd.WithZeroFrames(true))
			return &zstdEncoder{w}, err
		},
	}
}

type zstdEncoder struct{ zstd *zstd.Encoder }

func (e *zstdEncoder) encode(dst []byte, b *block) ([]byte, error) {
	return e.zstd.EncodeAll(b.data, dst), nil
}
