package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/sdk"
)

// Put uploads a blob. The result has no parts if the plan, or one that replaced it, has none: then the backend holds the
// blob already and has nothing to finish.
//
// The parts of a file are sent at once. Content that can only be opened is read from its start: parts that fit in memory
// are sent at once from there, others one after the other, and it is opened again where one has to be repeated. Its last
// bytes are held back until its digest is known to be right; a file's digest is vouched for by who offers it.
func (e *Engine) Put(ctx context.Context, blob sdk.Blob, content sdk.Content, plan sdk.Transfer, replan Replan) (sdk.TransferResult, error) {
	u := &upload{engine: e, blob: blob, plan: plan}
	result, err := u.put(ctx, content, replan)
	if err != nil {
		return sdk.TransferResult{}, fmt.Errorf("put blob %q: %w", abbreviate(string(blob.Digest)), err)
	}
	return result, nil
}

func (u *upload) put(ctx context.Context, content sdk.Content, replan Replan) (_ sdk.TransferResult, err error) {
	if u.blob.Size < 0 {
		return sdk.TransferResult{}, invalid("the size %d is negative", u.blob.Size)
	}
	if _, err := newVerifier(u.blob); err != nil {
		return sdk.TransferResult{}, err
	}
	if err := checkPut(u.plan, u.blob.Size); err != nil {
		return sdk.TransferResult{}, err
	}
	if len(u.plan.Parts) == 0 {
		return sdk.TransferResult{Token: u.plan.Token}, nil
	}
	u.done = make([]*sdk.PartResult, len(u.plan.Parts))
	if content.File != "" {
		if u.file, err = openFile(u.blob, content.File); err != nil {
			return sdk.TransferResult{}, err
		}
		defer func() { err = errors.Join(err, u.file.Close()) }()
	} else {
		if u.stream, err = newStream(ctx, u.blob, content); err != nil {
			return sdk.TransferResult{}, err
		}
		defer func() { err = errors.Join(err, u.stream.Close()) }()
	}
	return u.run(ctx, replan)
}

// upload is a blob that is being put.
type upload struct {
	engine *Engine
	blob   sdk.Blob
	file   *os.File // or
	stream *stream
	plan   sdk.Transfer
	fresh  bool          // the plan replaced another
	slots  chan struct{} // as many as parts may be sent at once

	mu sync.Mutex

	done    []*sdk.PartResult // by part; nil: still to be sent
	refused error             // why the plan is of no more use
}

// run sends all parts, in rounds: when a plan has expired or is refused, the parts that are left are sent by another.
func (u *upload) run(ctx context.Context, replan Replan) (sdk.TransferResult, error) {
	for {
		before := u.left()
		if err := u.round(ctx); err != nil {
			return sdk.TransferResult{}, err
		}
		if u.left() == 0 {
			return u.result(), nil
		}
		if replan == nil || u.fresh && u.left() == before {
			return sdk.TransferResult{}, u.refused
		}
		next, err := replan(ctx)
		if err == nil {
			err = checkPut(next, u.blob.Size)
		}
		if err != nil {
			return sdk.TransferResult{}, fmt.Errorf("%w; plan again: %w", u.refused, err)
		}
		if len(next.Parts) == 0 {
			return sdk.TransferResult{Token: next.Token}, nil
		}
		if !sameUpload(u.plan, next) {
			u.done = make([]*sdk.PartResult, len(next.Parts))
		}
		u.plan, u.fresh, u.refused = next, true, nil
		if u.stream != nil {
			if err := u.stream.restart(); err != nil {
				return sdk.TransferResult{}, err
			}
		}
	}
}

func (u *upload) left() int {
	n := 0
	for _, r := range u.done {
		if r == nil {
			n++
		}
	}
	return n
}

func (u *upload) result() sdk.TransferResult {
	result := sdk.TransferResult{Token: u.plan.Token}
	for _, r := range u.done {
		result.Parts = append(result.Parts, *r)
	}
	return result
}

// errStop ends a round that is to go no further.
var errStop = errors.New("stop")

// round sends the parts that are left. It returns nil, with parts left, when the plan is refused; those in progress are
// sent to their end.
func (u *upload) round(parent context.Context) error {
	g, ctx := errgroup.WithContext(parent)
	u.slots = make(chan struct{}, u.engine.Parallel)
	send := u.sendRange
	if u.stream != nil {
		send = u.sendNext
	}
	var err error
	for i := range u.plan.Parts {
		if err = u.proceed(ctx); err != nil {
			break
		}
		if err = send(ctx, g, i); err != nil {
			break
		}
	}
	if err != nil && !errors.Is(err, errStop) {
		g.Go(func() error { return err }) // ends the others
	}
	if err := g.Wait(); err != nil || parent.Err() == nil {
		return err
	}
	return context.Cause(parent)
}

// proceed waits until another part may be begun, which takes a slot, and says whether it is to be.
func (u *upload) proceed(ctx context.Context) error {
	select {
	case u.slots <- struct{}{}:
	case <-ctx.Done():
		return errStop
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return errStop // what ended it is known
	case u.refused != nil:
		return errStop
	case expired(u.plan) && !u.fresh:
		u.refused = &sdk.Error{Code: sdk.CodeUnauthorized, Message: "the plan of the upload has expired"}
		return errStop
	}
	return nil
}

func (u *upload) leave() { <-u.slots }

// sendRange sends a part of the file, and leaves its slot.
func (u *upload) sendRange(ctx context.Context, g *errgroup.Group, i int) error {
	if u.sent(i) {
		u.leave()
		return nil
	}
	part := u.plan.Parts[i]
	g.Go(func() error {
		defer u.leave()
		return u.send(ctx, i, func() (io.Reader, error) {
			return io.NewSectionReader(u.file, part.Offset, partLength(part, u.blob.Size)), nil
		})
	})
	return nil
}

// sendNext sends the part that comes next in the stream, from memory if it fits there, and leaves its slot.
func (u *upload) sendNext(ctx context.Context, g *errgroup.Group, i int) error {
	buffer, err := u.readNext(i)
	if err != nil || buffer == nil && u.sent(i) {
		u.leave()
		return err
	}
	if buffer == nil {
		defer u.leave()
		return u.send(ctx, i, func() (io.Reader, error) { return u.stream, u.stream.rewind() })
	}
	g.Go(func() error {
		defer u.leave()
		defer u.engine.buffers.give(buffer)
		return u.send(ctx, i, func() (io.Reader, error) { return bytes.NewReader(buffer), nil })
	})
	return nil
}

// readNext reads the part that comes next in the stream, if there is memory for it and it is still to be sent. Otherwise it
// returns nil.
func (u *upload) readNext(i int) ([]byte, error) {
	n := partLength(u.plan.Parts[i], u.blob.Size)
	if u.sent(i) {
		_, err := io.CopyN(io.Discard, u.stream, n)
		return nil, err
	}
	if n == 0 {
		if _, err := u.stream.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			return nil, err // an empty blob has nothing to be held back but the request
		}
	}
	u.stream.mark()
	var buffer []byte
	if len(u.plan.Parts) > 1 {
		buffer = u.engine.buffers.take(n)
	}
	if buffer == nil {
		return nil, nil
	}
	if _, err := io.ReadFull(u.stream, buffer); err != nil {
		u.engine.buffers.give(buffer)
		return nil, err
	}
	return buffer, nil
}

func (u *upload) sent(i int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.done[i] != nil
}

// send makes the request of a part until it succeeds, and notes the result. A plan that is refused is noted too.
func (u *upload) send(ctx context.Context, i int, open func() (io.Reader, error)) error {
	t := tries{engine: u.engine}
	for {
		result, err := u.try(ctx, u.plan.Parts[i], open)
		if err == nil {
			u.mu.Lock()
			u.done[i] = &result
			u.mu.Unlock()
			return nil
		}
		if r, ok := errors.AsType[*refusal](err); ok && r.unauthorized() {
			u.mu.Lock()
			u.refused = r
			u.mu.Unlock()
			return nil
		}
		if err := t.again(ctx, fmt.Sprintf("put part %d of a blob", i+1), err); err != nil {
			return err
		}
	}
}

// try makes the request of a part once.
func (u *upload) try(parent context.Context, part sdk.TransferPart, open func() (io.Reader, error)) (sdk.PartResult, error) {
	ctx, limit := newDeadline(parent, u.engine.Stall)
	defer limit.cancel()
	request, err := newRequest(ctx, part)
	if err != nil {
		return sdk.PartResult{}, err
	}
	var b *body
	if request.ContentLength = partLength(part, u.blob.Size); request.ContentLength > 0 {
		request.GetBody = func() (io.ReadCloser, error) {
			if b != nil {
				_ = b.fault() // nobody reads the source any more
			}
			in, err := open()
			b = &body{deadline: limit, length: request.ContentLength, in: in}
			return b, err
		}
		if request.Body, err = request.GetBody(); err != nil {
			return sdk.PartResult{}, err
		}
	}
	response, err := u.engine.Send(ctx, request, u.plan.Redirect)
	short := false
	if b != nil {
		if fault := b.fault(); fault != nil {
			if err == nil {
				_ = response.Body.Close()
			}
			return sdk.PartResult{}, fault
		}
		short = b.length > 0
	}
	if err != nil {
		return sdk.PartResult{}, fmt.Errorf("%s: %w", where(part), plain(ctx, err))
	}
	limit.start()
	if !succeeded(part, response.StatusCode) {
		return sdk.PartResult{}, newRefusal(part, response)
	}
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10) // so that the connection is used again
	_ = response.Body.Close()
	if short {
		return sdk.PartResult{}, fmt.Errorf("%s: the server said %d before it had all", where(part), response.StatusCode)
	}
	return sdk.PartResult{Status: response.StatusCode, Header: tell(response.Header)}, nil
}

// tell returns the fields of an answer that a plugin may need, sorted.
func tell(header http.Header) []sdk.Header {
	var out []sdk.Header
	for _, name := range slices.Sorted(maps.Keys(header)) {
		switch name {
		case "Connection", "Content-Length", "Date", "Keep-Alive", "Server", "Set-Cookie", "Transfer-Encoding", "Vary":
			continue
		}
		for _, value := range header[name] {
			out = append(out, sdk.Header{Name: name, Value: value})
		}
	}
	return out
}
