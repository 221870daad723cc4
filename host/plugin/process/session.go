package process

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk/process/wire"
)

// errOver says that the session has ended, most likely because the plugin has.
var errOver = errors.New("the session is over")

// session is the stream of frames between the host and a plugin.
type session struct {
	stream    grpc.ClientStream
	services  transport.Services
	out       chan *wire.Frame
	hostCalls atomic.Int32 // that are being answered

	cancel context.CancelFunc
	wg     sync.WaitGroup
	done   chan struct{} // closed when it is over, for the reason err
	once   sync.Once
	err    error

	mu    sync.Mutex
	next  uint32
	calls map[uint32]*call
}

// openSession opens the one stream of a plugin, which stays open when ctx has ended.
func openSession(ctx context.Context, conn *grpc.ClientConn, services transport.Services) (*session, error) {
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	unwatch := context.AfterFunc(ctx, cancel)
	desc := &grpc.StreamDesc{StreamName: "Session", ClientStreams: true, ServerStreams: true}
	stream, err := conn.NewStream(streamCtx, desc, wire.SessionPath, grpc.ForceCodecV2(codec{}),
		grpc.MaxCallRecvMsgSize(wire.MaxFrame), grpc.MaxCallSendMsgSize(wire.MaxFrame))
	if !unwatch() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open the session: %w", err)
	}
	s := &session{
		stream: stream, services: services, out: make(chan *wire.Frame), cancel: cancel,
		done: make(chan struct{}), calls: map[uint32]*call{},
	}
	s.wg.Go(s.receive)
	s.wg.Go(s.transmit)
	return s, nil
}

// close ends the session. Calls in progress fail.
func (s *session) close() {
	s.fail(errOver)
	s.wg.Wait()
}

func (s *session) fail(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.done)
		s.cancel()
	})
}

// over says whether the session has ended.
func (s *session) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// receive takes frames to where they belong. It never waits for a call or a stream.
func (s *session) receive() {
	for {
		f := new(wire.Frame)
		if err := s.stream.RecvMsg(f); err != nil {
			s.fail(err)
			return
		}
		s.mu.Lock()
		c := s.calls[f.Call]
		s.mu.Unlock()
		if c == nil {
			continue // it has ended
		}
		if err := c.take(f); err != nil {
			s.fail(err)
			return
		}
	}
}

func (s *session) transmit() {
	for {
		select {
		case f := <-s.out:
			if err := s.stream.SendMsg(f); err != nil {
				s.fail(err) // receive knows it better: there io.EOF has a reason
				return
			}
		case <-s.done:
			return
		}
	}
}

// send sends a frame, whose body is not changed after that.
func (s *session) send(ctx context.Context, f *wire.Frame) error {
	select {
	case s.out <- f:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.done:
		return errOver
	}
}

func (s *session) add(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	c.id = s.next
	s.calls[c.id] = c
}

func (s *session) remove(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, c.id)
}

// codec encodes frames for gRPC.
type codec struct{}

// Name implements encoding.CodecV2.
func (codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*wire.Frame)
	if !ok {
		return nil, fmt.Errorf("encode %T: not a frame", v)
	}
	const headRoom = 48
	buffers := mem.BufferSlice{mem.SliceBuffer(wire.AppendHead(make([]byte, 0, headRoom), f))}
	if len(f.Body) > 0 {
		buffers = append(buffers, mem.SliceBuffer(f.Body))
	}
	return buffers, nil
}

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*wire.Frame)
	if !ok {
		return fmt.Errorf("decode %T: not a frame", v)
	}
	return wire.Decode(data.Materialize(), f)
}
