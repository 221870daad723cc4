package process

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
	"github.com/trowel-build/trowel/sdk/process/wire"
)

// grace is how long a plugin has to end a call that was cancelled, and to exit, before it is killed.
const grace = time.Second

// unresponsiveError says that a plugin did not end a call that was cancelled.
type unresponsiveError struct{ cause *sdk.Error }

func (e *unresponsiveError) Error() string { return e.cause.Error() + ", and did not stop" }

// call is a call in progress.
type call struct {
	session  *session
	id       uint32
	streams  abi.Streams
	sources  map[uint32]*wire.Credit
	sinks    map[uint32]*wire.Queue
	answer   chan []byte
	hostCall func(f *wire.Frame)

	writing sync.WaitGroup // sinks that are not done

	mu    sync.Mutex
	ended bool
	wg    sync.WaitGroup // everything else
}

// call performs an operation. Nothing of it runs any more when it returns.
func (s *session) call(ctx context.Context, op abi.Op, request []byte, streams abi.Streams) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errOver)
	c := &call{
		session: s, streams: streams, answer: make(chan []byte, 1),
		sources: map[uint32]*wire.Credit{}, sinks: map[uint32]*wire.Queue{},
	}
	c.hostCall = func(f *wire.Frame) { c.answerHostCall(ctx, f) }
	c.prepareStreams(ctx)
	s.add(c)
	defer context.AfterFunc(ctx, c.closeStreams)()
	answer, err := c.perform(ctx, op, request)
	if err == nil {
		c.writing.Wait()
		err = causeOf(ctx)
	}
	s.remove(c)
	cancel(errOver)
	c.end()
	return answer, err
}

// perform sends the call and waits for the answer.
func (c *call) perform(ctx context.Context, op abi.Op, request []byte) ([]byte, error) {
	if err := c.session.send(ctx, &wire.Frame{Kind: wire.KindCall, Call: c.id, Op: uint32(op), Body: request}); err != nil {
		return nil, c.why(ctx)
	}
	c.startStreams(ctx)
	select {
	case answer := <-c.answer:
		return answer, nil
	case <-c.session.done:
		return c.lateAnswer(ctx)
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if c.session.send(patience, &wire.Frame{Kind: wire.KindCancel, Call: c.id}) == nil {
		select {
		case <-c.answer:
			return nil, causeOf(ctx)
		case <-c.session.done:
		case <-patience.Done():
		}
	}
	if c.session.over() {
		return nil, causeOf(ctx)
	}
	return nil, &unresponsiveError{causeError(ctx)}
}

// lateAnswer is for an answer that came just before the session ended.
func (c *call) lateAnswer(ctx context.Context) ([]byte, error) {
	select {
	case answer := <-c.answer:
		return answer, nil
	default:
		return nil, c.why(ctx)
	}
}

// why tells why a frame could not be sent or an answer did not come.
func (c *call) why(ctx context.Context) error {
	if err := causeOf(ctx); err != nil {
		return err
	}
	return errOver
}

// end waits for what the call started.
func (c *call) end() {
	for _, q := range c.sinks {
		q.End(errOver)
	}
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.writing.Wait()
	c.wg.Wait()
}

// take takes a frame of the plugin's. Its error ends the session: the plugin broke the protocol.
func (c *call) take(f *wire.Frame) error {
	switch f.Kind {
	case wire.KindAnswer:
		c.session.remove(c)
		for _, q := range c.sinks {
			q.End(io.EOF)
		}
		if len(f.Body) > abi.MaxResponse {
			f.Body = abi.Fail(&sdk.Error{Code: sdk.CodeLimit, Message: "the plugin's answer is larger than 16 MiB"})
		}
		c.answer <- f.Body // the only one
	case wire.KindHostCall:
		return c.startHostCall(f)
	case wire.KindLog:
		c.session.services.Log(logLevel(f.Op), string(f.Body[:min(len(f.Body), abi.MaxLog)]))
	case wire.KindWindow:
		if credit := c.sources[f.ID]; credit != nil {
			credit.Add(int(min(f.Window, wire.Window)))
		}
	case wire.KindData:
		if q := c.sinks[f.ID]; q != nil {
			return q.Put(f.Body)
		}
	}
	return nil
}

// startHostCall lets a call of the plugin's be answered. A plugin has to wait when it has many of them; the host's count
// lags behind its own.
func (c *call) startHostCall(f *wire.Frame) error {
	if c.session.hostCalls.Add(1) > 2*wire.MaxHostCalls {
		return errors.New("the plugin asks too much of the host at once")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		c.session.hostCalls.Add(-1)
		return nil
	}
	c.wg.Go(func() {
		defer c.session.hostCalls.Add(-1)
		c.hostCall(f)
	})
	return nil
}

func (c *call) answerHostCall(ctx context.Context, f *wire.Frame) {
	var envelope []byte
	if len(f.Body) <= abi.MaxRequest {
		envelope = c.session.services.Do(ctx, abi.HostOp(f.Op), f.Body)
	} else {
		envelope = abi.Fail(&sdk.Error{Code: sdk.CodeLimit, Message: "the request to the host is larger than 16 MiB"})
	}
	if len(envelope) > abi.MaxResponse {
		envelope = abi.Fail(&sdk.Error{Code: sdk.CodeLimit, Message: "the host's answer is larger than 16 MiB"})
	}
	// An error means that the call or the session has ended.
	_ = c.session.send(ctx, &wire.Frame{Kind: wire.KindHostAnswer, Call: c.id, ID: f.ID, Body: envelope})
}

// causeOf is why a context has ended, as an [*sdk.Error], or nil if it has not.
func causeOf(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return causeError(ctx)
}

func causeError(ctx context.Context) *sdk.Error {
	cause := context.Cause(ctx)
	if coded, ok := errors.AsType[*sdk.Error](cause); ok {
		return coded
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		return &sdk.Error{Code: sdk.CodeTimeout, Message: "the build's time for this ended"}
	}
	return &sdk.Error{Code: sdk.CodeCancelled, Message: "cancelled"}
}
