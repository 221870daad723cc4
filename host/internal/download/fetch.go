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
	// maxBreaks is how many times in a row a transfer may break without having got any further.
	maxBreaks = 5
)

// fetch brings the file into the working store, hashing it on the way, and notes what it is.
func (d *Download) fetch(ctx context.Context) (err error) {
	at := registry.ShownURL(d.address)
	t := transfer{client: d, shown: progress.StartTransfer(d.client.Progress, string(d.key()), "download "+at, 0)}
	defer func() { t.shown.Done(ctx, err) }()
	defer t.close()
	for breaks := 0; ; breaks++ {
		before := t.n
		err := t.run(ctx)
		if err == nil {
			break
		}
		if t.n > before {
			breaks = 0
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
	if t.n > 0 && t.state.ETag != "" && !strings.HasPrefix(t.state.ETag, "W/") {
		header.Set("Range", fmt.Sprintf("bytes=%d-", t.n))
		header.Set("If-Range", t.state.ETag)
	}
	resp, err := t.client.send(ctx, http.MethodGet, header)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	resumed := resp.StatusCode == http.StatusPartialContent
	if resumed && !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", t.n)) {
		return errors.New("the server sends another part of the file than it was asked for")
	}
	if !resumed {
		if err := t.start(ctx, resp); err != nil {
			return err
		}
	}
	n, err := io.CopyBuffer(t.out, t.shown.Reader(io.LimitReader(resp.Body, maxSize-t.n+1)), make([]byte, 256<<10))
	t.n += n
	if t.n > maxSize {
		return fmt.Errorf("the file has more than %d GiB", maxSize>>30)
	}
	return err
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
