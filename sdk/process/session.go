package process

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
	"github.com/trowel-build/trowel/sdk/process/wire"
)

var errSessionEnded = errors.New("the host has ended the session")

// session is the host's one stream of frames.
type session struct {
	stream    *grpcStream
	handle    Handler
	hostCalls chan struct{} // holds a token for each that waits

	wg    sync.WaitGroup
	mu    sync.Mutex
	calls map[uint32]*call
}

// session serves a session until it ends. There is one at a time: a plugin has one host.
func (s *server) session(ctx context.Context, stream *grpcStream) (code int, message string) {
	if !s.busy.TryLock() {
		return statusFailedPrecondition, "this plugin has a session already"
	}
	defer s.busy.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errSessionEnded)
	defer stream.close()
	open := &session{
		stream: stream, handle: s.newHandler(), hostCalls: make(chan struct{}, wire.MaxHostCalls), calls: map[uint32]*call{},
	}
	received := make(chan error, 1)
	go func() { received <- open.receive(ctx) }() // it ends with the request, when this method has returned
	var err error
	select {
	case err = <-received:
	case <-s.stopping:
	}
	cancel(errSessionEnded)
	open.wg.Wait()
	if err != nil && !errors.Is(err, io.EOF) {
		return statusInvalidArgument, err.Error()
	}
	return statusOK, ""
}

// receive takes frames to where they belong. It never waits for a call.
func (s *session) receive(ctx context.Context) error {
	for {
		message, err := s.stream.receive()
		if err != nil {
			return err
		}
		var f wire.Frame
		if err := wire.Decode(message, &f); err != nil {
			return err
		}
		if f.Kind == wire.KindCall {
			s.start(ctx, f)
			continue
		}
		s.mu.Lock()
		c := s.calls[f.Call]
		s.mu.Unlock()
		if c == nil {
			continue // it has ended
		}
		if err := c.take(f); err != nil {
			return err
		}
	}
}

// start answers a call in a goroutine of its own.
func (s *session) start(ctx context.Context, f wire.Frame) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := newCall(s, f.Call, cancel)
	s.mu.Lock()
	s.calls[f.Call] = c
	s.mu.Unlock()
	s.wg.Go(func() {
		defer cancel(errCallEnded)
		answer := s.handle(ctx, c, abi.Op(f.Op), f.Body)
		s.mu.Lock()
		delete(s.calls, f.Call)
		s.mu.Unlock()
		c.end()
		if len(answer) > abi.MaxResponse {
			answer = abi.Fail(&sdk.Error{Code: sdk.CodeLimit, Message: "the plugin's answer is larger than 16 MiB"})
		}
		// An error means that the host is gone, and then the session ends.
		_ = s.stream.send(&wire.Frame{Kind: wire.KindAnswer, Call: f.Call, Body: answer})
	})
}
