package abi

import (
	"context"
	"io"

	"github.com/trowel-build/trowel/sdk"
)

// Conn carries operations to a plugin: what [Client] needs of a transport. It is safe for concurrent use.
type Conn interface {
	// Call performs an operation and returns the answer's envelope. Its error is that of the transport: an [*sdk.Error] of
	// the code crashed, timeout, limit, cancelled, unsupported, invalid or internal. Streams are those that the request names,
	// by the numbers it names them by; they are not used after Call returned.
	Call(ctx context.Context, op Op, request []byte, streams Streams) ([]byte, error)
}

// Streams are the streams of a call, by number: an [io.Reader] the plugin reads, or an [io.Writer] it writes. One that is an
// [io.Closer] is closed when the call's time is over, for its Read or Write may be waiting for somebody.
type Streams map[uint32]any

// Host carries operations from a plugin to the host: what [Server] needs of a transport on the plugin's side.
type Host interface {
	// Do performs an operation of the host and returns the answer's envelope.
	Do(ctx context.Context, op HostOp, request []byte) ([]byte, error)
	// Log shows a message to the user.
	Log(ctx context.Context, level sdk.Level, text string)
	// Reader and Writer are the streams that a request named.
	Reader(ctx context.Context, stream uint32) io.Reader
	Writer(ctx context.Context, stream uint32) io.Writer
}
