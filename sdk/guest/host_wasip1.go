package guest

import (
	"context"
	"io"
	"unsafe"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// host is the host as the instance reaches it.
type host struct{}

// Do performs an operation of the host.
func (host) Do(_ context.Context, op abi.HostOp, request []byte) ([]byte, error) {
	n := hostDo(uint32(op), pointer(request), uint32(len(request)))
	if n < 0 {
		return nil, hostError("call the host", n)
	}
	envelope := make([]byte, n)
	if got := hostReply(pointer(envelope), 0, uint32(n)); got != n {
		return nil, hostError("read the host's answer", got)
	}
	return envelope, nil
}

// Log shows a message.
func (host) Log(_ context.Context, level sdk.Level, text string) { logText(level, text) }

// Reader reads a stream.
func (host) Reader(_ context.Context, stream uint32) io.Reader { return reader(stream) }

// Writer writes a stream.
func (host) Writer(_ context.Context, stream uint32) io.Writer { return writer(stream) }

func logText(level sdk.Level, text string) {
	number := uint32(1)
	switch level {
	case sdk.LevelDebug:
		number = 0
	case sdk.LevelWarning:
		number = 2
	case sdk.LevelError:
		number = 3
	}
	hostLog(number, unsafe.Pointer(unsafe.StringData(text)), uint32(len(text)))
}

// reader and writer are streams, by number.
type (
	reader uint32
	writer uint32
)

// Read reads from the stream.
func (r reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	switch n := hostStreamRead(uint32(r), pointer(p), uint32(len(p))); {
	case n < 0:
		return 0, hostError("read the stream", n)
	case n == 0:
		return 0, io.EOF
	default:
		return int(n), nil
	}
}

// WriteTo spares the bytes the way through the module's memory if w is a stream of the host's too.
func (r reader) WriteTo(w io.Writer) (int64, error) {
	if dst, ok := w.(writer); ok {
		n := hostStreamSplice(uint32(dst), uint32(r), -1)
		if n < 0 {
			return 0, hostError("copy the stream", int32(n))
		}
		return n, nil
	}
	return io.Copy(w, struct{ io.Reader }{r})
}

// Close says that the rest of the stream is not needed.
func (r reader) Close() error { return closeStream(uint32(r)) }

// Write writes all of p to the stream.
func (w writer) Write(p []byte) (int, error) {
	const most = 1 << 20 // what one crossing carries
	written := 0
	for written < len(p) {
		part := p[written:min(len(p), written+most)]
		n := hostStreamWrite(uint32(w), pointer(part), uint32(len(part)))
		if n < 0 {
			return written, hostError("write the stream", n)
		}
		written += int(n)
	}
	return written, nil
}

// Close says that the stream is complete.
func (w writer) Close() error { return closeStream(uint32(w)) }

func closeStream(stream uint32) error {
	if n := hostStreamClose(stream); n < 0 {
		return hostError("close the stream", n)
	}
	return nil
}

// hostError is what a negative result of the host means.
func hostError(doing string, result int32) error {
	e := &sdk.Error{Code: sdk.CodeInternal, Message: doing + ": the host refused"}
	switch -result {
	case 5:
		e.Message = doing + ": it failed on the host's side"
	case 9:
		e.Message = doing + ": there is no such stream, or it is closed"
	case 27:
		e.Code, e.Message = sdk.CodeLimit, doing+": too large"
	}
	return e
}
