package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/registry"
)

const (
	// maxSize bounds a file.
	maxSize = 64 << 30
	// maxBreaks is how many times in a row a transfer may break without having got any further than ever before.
	maxBreaks = 5
)

// fetch brings the file into the working store, hashing it on the way, and notes what it is.
func (d *Download) fetch(ctx context.Context) (err error) {
	at := registry.ShownURL(d.address)
	t := transfer{client: d, shown: progress.StartTransfer(d.client.Progress, string(d.key()), "download "+at, 0)}
	defer func() { t.shown.Done(ctx, err) }()
	defer t.close()
	furthest := int64(0)
	for breaks := 0; ; breaks++ {
		err := t.run(ctx)
		if err == nil {
			break
		}
		if t.n > furthest {
			breaks, furthest = 0, t.n
		}
		if !registry.Passing(err) || breaks == maxBreaks || ctx.Err() != nil {
			return fmt.Errorf("download %q: %w", at, err)
		}
	}
	b, err := t.commit(ctx, d.state.Digest)
	if err != nil {
		return fmt.Errorf("download %q: %w", at, err)
	}
	d.state = t.state
	if d.file, err = d.client.Copies.Keep(ctx, b); err != nil {
		return err
	}
	return d.client.Copies.Note(ctx, d.key(), d.state)
}

// transfer is a download under way, over as many connections as it takes.
type transfer struct {
	client *Download
	shown  *progress.Transfer
	out    *blob.Writer
	state  state
	n      int64
}

// run goes on with the transfer over one connection.
func (t *transfer) run(ctx context.Context) (err error) {
	header := http.Header{}
	resuming := t.n > 0 && t.state.ETag != "" && !strings.HasPrefix(t.state.ETag, "W/")
	if resuming {
		header.Set("Range", fmt.Sprintf("bytes=%d-", t.n))
		header.Set("If-Range", t.state.ETag)
	}
	resp, err := t.client.send(ctx, http.MethodGet, header)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	switch resp.StatusCode {
	case http.StatusPartialContent:
		if !resuming || !t.isRest(resp.Header) {
			err = errors.New("the server sends another part of the file than it was asked for")
		}
	case http.StatusNotModified:
		err = errors.New("the server says that the file is unchanged, which it was not asked")
	default:
		err = t.start(ctx, resp)
	}
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(t.out, t.shown.Reader(io.LimitReader(resp.Body, maxSize-t.n+1)), make([]byte, 256<<10))
	t.n += n
	if t.n > maxSize {
		return fmt.Errorf("the file has more than %d GiB", maxSize>>30)
	}
	return err
}

// isRest says whether an answer has all of the file that is still missing: RFC 9110, section 14.4.
func (t *transfer) isRest(header http.Header) bool {
	if tag := header.Get("ETag"); tag != "" && tag != t.state.ETag {
		return false
	}
	var first, last, size int64
	part := header.Get("Content-Range")
	if n, _ := fmt.Sscanf(part, "bytes %d-%d/%d", &first, &last, &size); n == 3 {
		return first == t.n && last+1 == size
	}
	// How long the whole is need not be known.
	return strings.HasPrefix(part, fmt.Sprintf("bytes %d-", t.n)) && strings.HasSuffix(part, "/*")
}

// start begins anew.
func (t *transfer) start(ctx context.Context, resp *http.Response) (err error) {
	t.close()
	t.n = 0
	t.state = state{ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}
	t.shown.Restart(resp.ContentLength)
	t.out, err = t.client.client.Copies.Store.Create(ctx)
	return err
}

// commit ends the transfer. want is empty if the file may be anything.
func (t *transfer) commit(ctx context.Context, want digest.Digest) (*blob.Blob, error) {
	t.state.Digest = t.out.Digest()
	if want != "" && t.state.Digest != want {
		return nil, &ChecksumError{Want: want.String(), Got: t.state.Digest.String()}
	}
	return t.out.Commit(ctx)
}

// close drops what was not committed.
func (t *transfer) close() {
	if t.out != nil {
		_ = t.out.Abort(nil) // the working store goes with the build
	}
}

// ChecksumError says that a file is not what the Dockerfile says, or not what it was a moment ago.
type ChecksumError struct{ Want, Got string }

// Error names both digests.
func (e *ChecksumError) Error() string {
	return fmt.Sprintf("digest mismatch: the file has %s, and %s was expected", e.Got, e.Want)
}
