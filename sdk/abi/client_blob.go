package abi

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/trowel-build/trowel/sdk"
)

// blobStream is the number of the one stream that an operation on a blob has.
const blobStream = 1

// GetBlob implements [sdk.BlobReader]. The content has a transfer, a file, or else Open, whose first call takes over the
// operation that GetBlob began: that one ends with ctx until it is opened, and holds an instance of the plugin meanwhile,
// so open soon. Each further call of Open begins an operation of its own. Closing the reader early ends the operation.
func (r *RemoteCache) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	got, err := r.startGet(ctx, digest)
	if err != nil {
		return sdk.Content{}, err
	}
	if got.answer.Transfer != nil {
		return sdk.Content{Transfer: got.answer.Transfer}, nil
	}
	if file := got.answer.File; file != "" {
		return sdk.Content{File: file, Open: func(context.Context) (io.ReadCloser, error) { return openFile(file) }}, nil
	}
	var mu sync.Mutex
	next := got.stream
	release := context.AfterFunc(ctx, got.stream.end)
	return sdk.Content{Open: func(ctx context.Context) (io.ReadCloser, error) {
		mu.Lock()
		stream := next
		next = nil
		mu.Unlock()
		if stream != nil && release() {
			stream.endWith(ctx)
			return stream, nil
		}
		again, err := r.startGet(ctx, digest)
		if err != nil {
			return nil, err
		}
		if again.stream == nil {
			return nil, misbehaved("gave the bytes of a blob once, and now another answer: " + quote(string(digest)))
		}
		again.stream.endWith(ctx)
		return again.stream, nil
	}}, nil
}

// gotBlob is an answer, or a stream that has begun.
type gotBlob struct {
	answer GetBlobResponse
	stream *getStream
}

// startGet begins an operation and waits for the first bytes or the answer.
func (r *RemoteCache) startGet(ctx context.Context, digest sdk.Digest) (gotBlob, error) {
	if err := ctx.Err(); err != nil {
		return gotBlob{}, err
	}
	callCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	from, to := io.Pipe()
	s := &getStream{from: from, cancel: cancel, done: make(chan struct{})}
	release := context.AfterFunc(ctx, s.end)
	defer release()
	go func() {
		defer close(s.done)
		s.answer, s.err = r.get(callCtx, digest, to)
		_ = to.CloseWithError(s.err) // nil makes it io.EOF
	}()
	head := make([]byte, copyBuffer)
	n, err := from.Read(head)
	if n > 0 {
		s.head = head[:n]
		return gotBlob{stream: s}, nil
	}
	<-s.done
	cancel()
	switch {
	case s.err != nil:
		return gotBlob{}, withCause(ctx, s.err)
	case !errors.Is(err, io.EOF):
		return gotBlob{}, withCause(ctx, err)
	case s.answer.Transfer == nil && s.answer.File == "":
		return gotBlob{stream: s}, nil
	}
	return gotBlob{answer: s.answer}, nil
}

// get performs the operation. What it returns is checked.
func (r *RemoteCache) get(ctx context.Context, digest sdk.Digest, sink *io.PipeWriter) (GetBlobResponse, error) {
	counted := &sinkStream{to: sink}
	request := GetBlobRequest{Digest: digest, Sink: blobStream}
	message, err := r.c.roundTrip(ctx, OpGetBlob, AppendGetBlobRequest(nil, &request), Streams{blobStream: counted})
	if err != nil {
		return GetBlobResponse{}, err
	}
	var a GetBlobResponse
	if err := DecodeGetBlobResponse(message, &a); err != nil {
		return GetBlobResponse{}, err
	}
	switch n := counted.n; {
	case a.Streamed != n:
		err = misbehaved("says that it wrote " + strconv.FormatInt(a.Streamed, 10) + " bytes of a blob and wrote " + strconv.FormatInt(n, 10))
	case n > 0 && (a.Transfer != nil || a.File != ""), a.Transfer != nil && a.File != "":
		err = misbehaved("answered more than one of a blob's bytes, a transfer and a file")
	case a.Transfer != nil:
		err = checkDownload(a.Transfer)
	case a.File != "" && !sharesFiles(r.c.conn):
		err = misbehaved("answered with the path of a file, which only plugins that are processes may")
	case a.File != "" && !strings.HasPrefix(a.File, "/"):
		err = misbehaved("answered with a path that is not absolute: " + quote(a.File))
	}
	return a, err
}

// sinkStream counts what a plugin writes. It is for one goroutine at a time, but for Close.
type sinkStream struct {
	to *io.PipeWriter
	n  int64
}

func (w *sinkStream) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil // would pass for an answer
	}
	n, err := w.to.Write(p)
	w.n += int64(n)
	return n, err
}

// Close makes a Write that waits for the reader fail: a transport calls it when the call's time is up.
func (w *sinkStream) Close() error { return w.to.CloseWithError(errTimeout) }

var errTimeout = &sdk.Error{Code: sdk.CodeTimeout, Message: "the blob was not read in time"}

// getStream reads what a plugin writes. Its error is the operation's.
type getStream struct {
	head    []byte // was read already
	from    *io.PipeReader
	cancel  context.CancelFunc
	release func() bool   // lets go of the context that Open was called with
	cause   func() error  // why that context ended
	done    chan struct{} // closed when the operation ended; then answer and err are set
	answer  GetBlobResponse
	err     error
}

// endWith makes the operation end with ctx.
func (s *getStream) endWith(ctx context.Context) {
	s.release = context.AfterFunc(ctx, s.end)
	s.cause = ctx.Err
}

// end ends the operation, also where the plugin waits for its bytes to be read.
func (s *getStream) end() {
	s.cancel()
	_ = s.from.CloseWithError(errClosed)
}

func (s *getStream) Read(p []byte) (int, error) {
	if len(s.head) > 0 {
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	n, err := s.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := s.cause(); cause != nil {
			err = &endedError{err: err, cause: cause}
		}
	}
	return n, err
}

// Close ends the operation and waits for it.
func (s *getStream) Close() error {
	s.release()
	s.end()
	<-s.done
	return nil
}

var errClosed = errors.New("the reader of the blob was closed")

// PutBlob implements [sdk.BlobWriter]. It gives the plugin exactly as many bytes as the blob has; where the content has
// fewer or more, or breaks off, the put fails whatever the plugin says.
func (r *RemoteCache) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) (err error) {
	if content.Open == nil {
		return invalid("put blob " + quote(string(blob.Digest)) + ": the content cannot be opened")
	}
	from, err := content.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	source := &putStream{from: from, left: blob.Size}
	request := PutBlobRequest{Blob: blob, Source: blobStream}
	message, err := r.c.roundTrip(ctx, OpPutBlob, AppendPutBlobRequest(nil, &request), Streams{blobStream: source})
	if source.err != nil {
		return withCause(ctx, source.err)
	}
	if err != nil {
		return err
	}
	return DecodeEmpty(message, &Empty{})
}

// putStream reads exactly as many bytes as a blob has, and keeps its error.
type putStream struct {
	from io.Reader
	left int64
	err  error
}

func (s *putStream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.from.Read(p)
	s.left -= int64(n)
	switch {
	case s.left < 0:
		n, s.err = 0, invalid("the content of the blob is longer than the blob")
	case err == nil:
		return n, nil
	case err != io.EOF:
		s.err = err
	case s.left > 0:
		s.err = invalid("the content of the blob is shorter than the blob")
	default:
		return n, io.EOF
	}
	return n, s.err
}
