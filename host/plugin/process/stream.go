package process

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/trowel-build/trowel/sdk/process/wire"
)

// The plugin is not told why a stream of the host's broke: the host knows, and reports it.
const (
	sourceFailed = "the host could not read this stream to its end"
	sinkFailed   = "the host takes no more of this stream"
)

// prepareStreams makes what frames of the plugin's look for.
func (c *call) prepareStreams(ctx context.Context) {
	for id, stream := range c.streams {
		switch stream.(type) {
		case io.Reader:
			c.sources[id] = wire.NewCredit()
		case io.Writer:
			c.sinks[id] = wire.NewQueue(func(bytes int) {
				// An error means that the call or the session has ended.
				_ = c.session.send(ctx, &wire.Frame{Kind: wire.KindWindow, Call: c.id, ID: id, Window: uint32(bytes)})
			})
		default:
			panic(fmt.Sprintf("stream %d is a %T, which can neither be read nor written", id, stream))
		}
	}
}

// startStreams moves bytes once the plugin knows of the call.
func (c *call) startStreams(ctx context.Context) {
	for id, credit := range c.sources {
		from, _ := c.streams[id].(io.Reader)
		c.wg.Go(func() { c.pump(ctx, id, credit, from) })
	}
	for id, q := range c.sinks {
		to, _ := c.streams[id].(io.Writer)
		c.writing.Go(func() {
			q.Open()
			c.drain(ctx, id, q, to)
		})
	}
}

// closeStreams frees what waits in a stream when the call's time is up.
func (c *call) closeStreams() {
	for _, stream := range c.streams {
		if closer, ok := stream.(io.Closer); ok {
			_ = closer.Close() // the call fails anyway
		}
	}
}

// pump sends what the plugin reads, as fast as it reads.
func (c *call) pump(ctx context.Context, id uint32, credit *wire.Credit, from io.Reader) {
	for {
		n, err := credit.Take(ctx, wire.Chunk)
		if err != nil {
			return
		}
		body := make([]byte, n) // gRPC keeps it until it is sent
		got, err := from.Read(body)
		if ctx.Err() != nil {
			return
		}
		credit.Add(n - got)
		if got > 0 && c.session.send(ctx, &wire.Frame{Kind: wire.KindData, Call: c.id, ID: id, Body: body[:got]}) != nil {
			return
		}
		if err != nil {
			end := &wire.Frame{Kind: wire.KindEnd, Call: c.id, ID: id}
			if !errors.Is(err, io.EOF) {
				end.Body = []byte(sourceFailed)
			}
			_ = c.session.send(ctx, end) // an error means that the call or the session has ended
			return
		}
	}
}

// drain writes what the plugin sends. It is read no faster than it is written.
func (c *call) drain(ctx context.Context, id uint32, q *wire.Queue, to io.Writer) {
	buffer := make([]byte, wire.Chunk)
	for {
		n, err := q.Read(ctx, buffer)
		if err != nil {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			q.End(errors.New(sinkFailed)) // what is on its way is dropped
			_ = c.session.send(ctx, &wire.Frame{Kind: wire.KindEnd, Call: c.id, ID: id, Body: []byte(sinkFailed)})
			return
		}
	}
}
