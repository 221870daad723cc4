package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Blob pulls a blob. What is read is verified: a Read fails rather than return the last bytes of a blob that has not the
// descriptor's digest and size. A connection that breaks is resumed where it broke. The caller closes the reader, which
// holds one of the registry's transfer slots until then or until its end.
func (c *Client) Blob(ctx context.Context, repository Repository, descriptor ocispec.Descriptor) (io.ReadCloser, error) {
	return c.blobFrom(ctx, repository, descriptor, 0)
}

// BlobFrom pulls a blob from an offset on. Its size is verified, but its digest cannot be.
func (c *Client) BlobFrom(ctx context.Context, repository Repository, descriptor ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	return c.blobFrom(ctx, repository, descriptor, offset)
}

func (c *Client) blobFrom(ctx context.Context, repository Repository, descriptor ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	want := descriptor.Digest
	if err := want.Validate(); err != nil {
		return nil, fmt.Errorf("pull blob %q: %w", repository.String()+"@"+tidy(string(want), 200), err)
	}
	if offset < 0 || offset > descriptor.Size {
		return nil, fmt.Errorf("pull blob %q: offset %d is outside its %d bytes", repository.String()+"@"+string(want), offset, descriptor.Size)
	}
	return pull(ctx, c, repository, func(src source) (io.ReadCloser, error) {
		return src.openBlob(ctx, c, repository, descriptor, offset)
	})
}

// Exists says whether a repository has a blob.
func (c *Client) Exists(ctx context.Context, repository Repository, blobDigest string) (bool, error) {
	h, err := c.host(repository.Registry)
	if err != nil {
		return false, err
	}
	return h.hasBlob(ctx, task{op: "look up blob", ref: repository.String() + "@" + blobDigest}, repository, blobDigest, access{repository: repository.Path})
}

// Stat returns the length of a blob and whether a repository has it.
func (c *Client) Stat(ctx context.Context, repository Repository, blobDigest string) (size int64, held bool, err error) {
	h, err := c.host(repository.Registry)
	if err != nil {
		return 0, false, err
	}
	t := task{op: "look up blob", ref: repository.String() + "@" + blobDigest}
	resp, err := h.call(ctx, t, &request{
		method: http.MethodHead, url: h.url(repository, "blobs/"+blobDigest), access: access{repository: repository.Path},
	}, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return 0, false, err
	}
	drain(resp.Body)
	if resp.StatusCode == http.StatusNotFound {
		return 0, false, nil
	}
	if resp.ContentLength < 0 {
		return 0, false, &Error{Op: t.op, Ref: t.ref, Err: errors.New("the registry does not say its length")}
	}
	return resp.ContentLength, true, nil
}

func (h *host) hasBlob(ctx context.Context, t task, repository Repository, blobDigest string, a access) (bool, error) {
	resp, err := h.call(ctx, t, &request{
		method: http.MethodHead, url: h.url(repository, "blobs/"+blobDigest), access: a,
	}, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	drain(resp.Body)
	return resp.StatusCode == http.StatusOK, nil
}

// openBlob starts to pull a blob from a source, and waits for its first answer.
func (s source) openBlob(ctx context.Context, c *Client, repository Repository, descriptor ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if err := s.pulls.acquire(ctx); err != nil {
		return nil, err
	}
	want := descriptor.Digest
	b := &blobReader{
		ctx: func() context.Context { return ctx }, client: c, source: s, origin: repository,
		want: want, size: descriptor.Size, at: offset,
	}
	if offset == 0 {
		b.verifier = want.Verifier()
	}
	b.tries = b.newTries()
	if err := b.connect(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// blobReader reads a blob across as many connections as it takes.
type blobReader struct {
	ctx    func() context.Context // that of the pull
	client *Client
	source source
	origin Repository // the repository as asked for, where the source is a mirror
	want   digest.Digest
	size   int64

	at       int64
	body     io.ReadCloser   // nil: to be connected
	verifier digest.Verifier // nil: read from the middle
	tries    attempts
	end      error // what every further Read returns
	released bool
}

func (b *blobReader) newTries() attempts {
	tries := attempts{host: b.source.host, most: b.source.retry.Attempts}
	if !b.source.last {
		tries.most = 1
	}
	return tries
}

func (b *blobReader) task() task {
	return task{op: "pull blob", ref: b.source.repository.String() + "@" + b.want.String()}
}

func (b *blobReader) fault(format string, args ...any) error {
	return &Error{Op: "pull blob", Ref: b.task().ref, Err: fmt.Errorf(format+": %w", append(args, errWrongContent)...)}
}

// Read reads on, and over to another connection where one breaks.
func (b *blobReader) Read(p []byte) (int, error) {
	for b.end == nil && len(p) > 0 {
		if b.body == nil {
			if err := b.connect(b.ctx()); err != nil {
				b.finish(err)
				break
			}
		}
		n, err := b.body.Read(p)
		if n > 0 {
			b.tries.made = 0
			if err := b.take(p[:n]); err != nil {
				b.finish(err)
				return 0, err
			}
			return n, nil
		}
		if err != nil {
			b.broken(err)
		}
	}
	if len(p) == 0 {
		return 0, nil
	}
	return 0, b.end
}

// take counts and verifies what was read. The last bytes are not given out if they complete a wrong blob.
func (b *blobReader) take(p []byte) error {
	b.at += int64(len(p))
	if b.at > b.size {
		return b.fault("the registry sends more than the blob's %d bytes", b.size)
	}
	if b.verifier == nil {
		return nil
	}
	if _, err := b.verifier.Write(p); err != nil {
		return err
	}
	if b.at == b.size && !b.verifier.Verified() {
		return b.fault("its %d bytes do not have this digest", b.size)
	}
	return nil
}

// broken handles the end of a connection.
func (b *blobReader) broken(err error) {
	if b.at == b.size {
		// Whatever ended the connection, every byte was there.
		if b.size == 0 && b.verifier != nil && !b.verifier.Verified() {
			b.finish(b.fault("it is empty, and this is not the digest of nothing"))
			return
		}
		b.finish(io.EOF)
		return
	}
	b.body.Close()
	b.body = nil
	if errors.Is(err, io.EOF) {
		err = &networkError{text: fmt.Sprintf("the connection ended after %d of %d bytes", b.at, b.size), passing: true, err: err}
	}
	if ctx := b.ctx(); ctx.Err() != nil {
		b.finish(ctx.Err())
		return
	}
	err = &Error{Op: "pull blob", Ref: b.task().ref, Err: err}
	if err := b.tries.again(b.ctx(), err); err != nil && !b.leaveMirror(err) {
		b.finish(err)
	}
}

// leaveMirror goes over from a mirror to the registry itself, in the middle of a blob.
func (b *blobReader) leaveMirror(err error) bool {
	if b.source.last || b.ctx().Err() != nil || b.client.settings(b.origin.Registry).MirrorsOnly {
		return false
	}
	h, hostErr := b.client.host(b.origin.Registry)
	if hostErr != nil {
		return false
	}
	b.client.passOver(b.ctx(), b.source, err)
	b.release()
	if h.pulls.acquire(b.ctx()) != nil {
		return false
	}
	b.released = false
	b.source = source{host: h, repository: b.origin, last: true}
	b.tries = b.newTries()
	return true
}

// connect asks for what is left of the blob. A redirect is followed from the registry each time, because the addresses
// that registries hand out expire.
func (b *blobReader) connect(ctx context.Context) error {
	t := b.task()
	r := &request{
		method: http.MethodGet, url: b.source.url(b.source.repository, "blobs/"+b.want.String()),
		header: http.Header{"Accept": {"*/*"}}, access: access{repository: b.source.repository.Path},
	}
	if b.at > 0 && b.at == b.size {
		b.body = http.NoBody
		return nil
	}
	if b.at > 0 {
		r.header.Set("Range", fmt.Sprintf("bytes=%d-%d", b.at, b.size-1))
	}
	for {
		resp, err := b.source.once(ctx, t, r, http.StatusOK, http.StatusPartialContent)
		if err == nil {
			err = b.accept(resp)
		}
		if err == nil {
			return nil
		}
		if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusRequestedRangeNotSatisfiable {
			return b.fault("the registry has only %d of its %d bytes", b.at, b.size)
		}
		if err := b.tries.again(ctx, err); err != nil {
			return err
		}
	}
}

// accept takes an answer's body, from the offset that was asked for, whether the server heeded it or not.
func (b *blobReader) accept(resp *http.Response) error {
	start := int64(0)
	if resp.StatusCode == http.StatusPartialContent {
		var ok bool
		if start, ok = rangeStart(resp.Header.Get("Content-Range")); !ok || start != b.at {
			resp.Body.Close()
			return b.fault("the registry answered with the range %q", tidy(resp.Header.Get("Content-Range"), 60))
		}
	}
	if resp.ContentLength >= 0 && start+resp.ContentLength != b.size {
		resp.Body.Close()
		return b.fault("the registry has %d bytes of it, and it should be %d", start+resp.ContentLength, b.size)
	}
	if skip := b.at - start; skip > 0 {
		if _, err := io.CopyN(io.Discard, resp.Body, skip); err != nil {
			resp.Body.Close()
			return &Error{Op: "pull blob", Ref: b.task().ref, Err: &networkError{text: "the connection broke off", passing: true, err: err}}
		}
	}
	b.body = resp.Body
	return nil
}

// rangeStart reads the first number of "bytes 10-19/20".
func rangeStart(value string) (int64, bool) {
	first, _, ok := strings.Cut(strings.TrimPrefix(value, "bytes "), "-")
	start, err := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
	return start, ok && err == nil && start >= 0
}

func (b *blobReader) finish(err error) {
	b.end = err
	b.release()
}

// release closes the connection and gives the transfer slot back.
func (b *blobReader) release() {
	if b.body != nil {
		b.body.Close()
		b.body = nil
	}
	if !b.released {
		b.released = true
		b.source.pulls.release()
	}
}

// Close ends the pull.
func (b *blobReader) Close() error {
	if b.end == nil {
		b.end = errClosed
	}
	b.release()
	return nil
}

var errClosed = errors.New("read from a closed blob")
