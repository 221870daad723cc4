package wire

import (
	"encoding/binary"
	"errors"
)

// The names by which host and plugin find each other. The handshake is that of HashiCorp's go-plugin.
const (
	// SessionPath is the path of the one gRPC method.
	SessionPath = "/trowel.v1.Plugin/Session"
	// CookieName and CookieValue are an environment variable that tells a plugin that a host started it.
	CookieName  = "TROWEL_PLUGIN"
	CookieValue = "5f1c7a70-trowel-plugin-v1"
	// Lifeline is the environment variable with the number of a descriptor that is at its end when the host is gone.
	Lifeline = "TROWEL_PLUGIN_LIFELINE"
)

// The bounds of the protocol.
const (
	Window       = 1 << 20         // bytes that a stream has on its way at most
	Chunk        = 64 << 10        // bytes of a DATA frame that a sender should not exceed
	MaxFrame     = 16<<20 + 64<<10 // bytes of a frame
	MaxHostCalls = 32              // that a plugin may have waiting at once
)

// Kind says what a frame is.
type Kind uint32

// The kinds of frames.
const (
	KindCall       Kind = 1
	KindAnswer     Kind = 2
	KindHostCall   Kind = 3
	KindHostAnswer Kind = 4
	KindLog        Kind = 5
	KindData       Kind = 6
	KindEnd        Kind = 7
	KindWindow     Kind = 8
	KindCancel     Kind = 9
)

// The levels of a LOG frame, in its field op.
const (
	LogDebug   uint32 = 1
	LogInfo    uint32 = 2
	LogWarning uint32 = 3
	LogError   uint32 = 4
)

// Frame is a message of a session.
type Frame struct {
	Kind   Kind
	Call   uint32 // the call it belongs to
	ID     uint32 // the stream, or the number of the host call
	Op     uint32 // the operation, or the level of a message
	Window uint32 // bytes that the other side may send in addition
	Body   []byte
}

// The fields' numbers in the message Frame.
const (
	fieldKind = iota + 1
	fieldCall
	fieldID
	fieldOp
	fieldWindow
	fieldBody
)

// The wire types of protobuf.
const (
	typeVarint = 0
	typeFixed8 = 1
	typeBytes  = 2
	typeFixed4 = 5
)

var errMalformed = errors.New("malformed frame")

// Append appends f as a protobuf message.
func Append(b []byte, f *Frame) []byte {
	return append(AppendHead(b, f), f.Body...)
}

// AppendHead appends all of f but the bytes of its body, which come last.
func AppendHead(b []byte, f *Frame) []byte {
	for i, v := range [...]uint32{uint32(f.Kind), f.Call, f.ID, f.Op, f.Window} {
		if v != 0 {
			b = append(b, byte((fieldKind+i)<<3|typeVarint))
			b = binary.AppendUvarint(b, uint64(v))
		}
	}
	if len(f.Body) > 0 {
		b = append(b, fieldBody<<3|typeBytes)
		b = binary.AppendUvarint(b, uint64(len(f.Body)))
	}
	return b
}

// Decode reads a protobuf message. The body is a part of b. Fields it does not know are passed over.
func Decode(b []byte, f *Frame) error {
	*f = Frame{}
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			return errMalformed
		}
		b = b[n:]
		var err error
		switch key & 7 {
		case typeVarint:
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return errMalformed
			}
			b, err = b[n:], f.set(key>>3, v)
		case typeBytes:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return errMalformed
			}
			if key>>3 == fieldBody {
				f.Body = b[n : n+int(size) : n+int(size)]
			}
			b = b[n+int(size):]
		case typeFixed8:
			b, err = skip(b, 8)
		case typeFixed4:
			b, err = skip(b, 4)
		default:
			return errMalformed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *Frame) set(field, v uint64) error {
	var to *uint32
	switch field {
	case fieldKind:
		to = (*uint32)(&f.Kind)
	case fieldCall:
		to = &f.Call
	case fieldID:
		to = &f.ID
	case fieldOp:
		to = &f.Op
	case fieldWindow:
		to = &f.Window
	default:
		return nil
	}
	if v > 1<<32-1 {
		return errMalformed
	}
	*to = uint32(v)
	return nil
}

func skip(b []byte, n int) ([]byte, error) {
	if len(b) < n {
		return nil, errMalformed
	}
	return b[n:], nil
}
