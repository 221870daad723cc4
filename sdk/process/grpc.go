package process

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/trowel-build/trowel/sdk/process/wire"
)

// The codes of gRPC that are used here.
const (
	statusOK                 = 0
	statusInvalidArgument    = 3
	statusFailedPrecondition = 9
	statusUnimplemented      = 12
	statusInternal           = 13
)

// The methods that every plugin of go-plugin has. Its broker and its standard output have no use here: the client lives
// with their being unimplemented.
const (
	pathHealth   = "/grpc.health.v1.Health/Check"
	pathShutdown = "/plugin.GRPCController/Shutdown"
)

// serving is a HealthCheckResponse: field 1, status, is SERVING.
const serving = "\x08\x01"

// ServeHTTP answers one gRPC call.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 2 || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		http.Error(w, "this is a plugin of Trowel, and speaks gRPC", http.StatusUnsupportedMediaType)
		return
	}
	w.Header().Set("Content-Type", "application/grpc+proto")
	w.WriteHeader(http.StatusOK)
	stream := &grpcStream{in: bufio.NewReaderSize(r.Body, wire.Chunk), out: w, flush: http.NewResponseController(w).Flush}
	if stream.flush() != nil {
		return // the client is gone
	}
	var code int
	var message string
	switch r.URL.Path {
	case wire.SessionPath:
		code, message = s.session(r.Context(), stream)
	case pathHealth:
		code, message = stream.unary([]byte(serving))
	case pathShutdown:
		code, message = stream.unary(nil)
		defer s.stop()
	default:
		code, message = statusUnimplemented, "unknown method "+r.URL.Path
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(code))
	if message != "" {
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", percentEncode(message))
	}
}

// grpcStream is the messages of one gRPC call. One goroutine receives; any may send.
type grpcStream struct {
	in    *bufio.Reader
	flush func() error

	mu  sync.Mutex
	out io.Writer // nil after close
	buf []byte
}

// close keeps what the plugin left running from writing to a response that is over.
func (g *grpcStream) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.out = nil
}

// unary answers a call whose request does not matter.
func (g *grpcStream) unary(answer []byte) (int, string) {
	if _, err := g.receive(); err != nil {
		return statusInvalidArgument, err.Error()
	}
	if err := g.write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(answer))), answer...)); err != nil {
		return statusInternal, err.Error()
	}
	return statusOK, ""
}

// receive returns the next message.
func (g *grpcStream) receive() ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(g.in, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	switch {
	case head[0] != 0:
		return nil, errors.New("compressed messages are not understood")
	case size > wire.MaxFrame:
		return nil, fmt.Errorf("a message of %d bytes is larger than the most, %d", size, wire.MaxFrame)
	}
	message := make([]byte, size)
	_, err := io.ReadFull(g.in, message)
	return message, err
}

// send sends a frame.
func (g *grpcStream) send(f *wire.Frame) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.out == nil {
		return errSessionEnded
	}
	g.buf = wire.Append(append(g.buf[:0], 0, 0, 0, 0, 0), f)
	binary.BigEndian.PutUint32(g.buf[1:], uint32(len(g.buf)-5))
	err := g.write(g.buf)
	if cap(g.buf) > 4*wire.Chunk {
		g.buf = nil // a large answer is rare
	}
	return err
}

func (g *grpcStream) write(b []byte) error {
	if _, err := g.out.Write(b); err != nil {
		return err
	}
	return g.flush()
}

// percentEncode encodes a status message as gRPC over HTTP/2 has it.
func percentEncode(message string) string {
	var b strings.Builder
	for i := range len(message) {
		if c := message[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
