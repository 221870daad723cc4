package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// mode is how the bytes of a blob are sent.
type mode int

const (
	// streaming sends all bytes in one PATCH, whose end need not be known when it starts.
	streaming mode = iota
	// chunked sends the bytes that are there with their range, for as often as it takes: after a break, or where one
	// request must not be large.
	chunked
	// whole sends a complete blob in the one PUT that also names its digest.
	whole
)

const (
	// maxChunk is the size of a chunk where the registry does not want larger ones.
	maxChunk = 32 << 20
	// cancelTime bounds the clearing up after an upload that is given up.
	cancelTime = 5 * time.Second
)

// upload is one blob on its way into one repository. It goes from state to state, each of which the registry can be
// asked for, so that a fault costs no more than what was on the wire.
type upload struct {
	host       *host
	repository Repository
	blob       Blob
	report     func(sent int64)
	task       task
	access     access

	mode   mode
	at     *url.URL // the upload's address, which every answer renews; nil: to be opened
	offset int64    // bytes that the registry has
	sent   bool     // bytes were sent to this address
	misfit bool     // the last chunk did not fit what the registry has
	chunk  int64    // the least size of a chunk that the registry takes
	digest string   // empty while the blob is growing
	size   int64
}

// know takes note of the blob's digest and size.
func (u *upload) know(descriptor ocispec.Descriptor) {
	u.digest, u.size = descriptor.Digest.String(), descriptor.Size
	u.task.ref = u.repository.String() + "@" + u.digest
}

func (u *upload) key() blobKey { return blobKey{repository: u.repository, digest: u.digest} }

// run uploads the blob. Whatever part fails, the registry is asked what it has, and the upload goes on from there; when
// the registry knows nothing of it any more, it begins again.
func (u *upload) run(ctx context.Context) error {
	tries := attempts{host: u.host, most: u.host.retry.Attempts}
	furthest := int64(0)
	for {
		err := u.advance(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			u.cancel(ctx)
			return ctx.Err()
		}
		if u.yield(ctx, err) {
			tries.made++ // no pause: the registry is well, it only wants it otherwise
			if tries.made < tries.most {
				continue
			}
		}
		if err := tries.again(ctx, err); err != nil {
			u.cancel(ctx)
			return err
		}
		done, err := u.recover(ctx)
		if err != nil {
			u.cancel(ctx)
			return err
		}
		if done {
			return nil
		}
		if u.offset > furthest { // what was sent for a second time is no progress
			furthest, tries.made = u.offset, 0
		}
	}
}

// advance sends what is left, from the state that the upload is in.
func (u *upload) advance(ctx context.Context) error {
	if u.mode == whole && u.digest == "" { // a registry does not keep an unused upload for long
		if err := u.complete(ctx); err != nil {
			return err
		}
	}
	if u.at == nil {
		resp, err := u.host.once(ctx, u.task, u.startRequest(), http.StatusAccepted)
		if err != nil {
			return err
		}
		drain(resp.Body)
		u.begin(resp)
		if u.at == nil {
			return &Error{Op: u.task.op, Ref: u.task.ref, Err: errNoLocation}
		}
	}
	if u.mode == whole {
		return u.putWhole(ctx)
	}
	if !u.sent {
		if err := u.stream(ctx); err != nil {
			return err
		}
	}
	for {
		end, err := u.reach(ctx)
		if err != nil {
			return err
		}
		if end == u.offset {
			return u.commit(ctx)
		}
		if err := u.sendChunk(ctx, end); err != nil {
			return err
		}
	}
}

// startRequest opens an upload.
func (u *upload) startRequest() *request {
	return &request{method: http.MethodPost, url: u.host.url(u.repository, "blobs/uploads/"), access: u.access}
}

// begin takes note of an opened upload.
func (u *upload) begin(resp *http.Response) {
	u.restart()
	u.move(resp)
	if least, err := strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64); err == nil && least > 0 {
		u.chunk = min(least, 1<<30)
	}
}

func (u *upload) restart() { u.at, u.offset, u.sent = nil, 0, false }

// move takes note of where the upload goes on.
func (u *upload) move(resp *http.Response) {
	if at, err := u.host.location(resp); err == nil {
		u.at = at
	}
}

// stream sends everything from the start in one request.
func (u *upload) stream(ctx context.Context) error {
	if u.mode == chunked {
		return nil
	}
	length := int64(-1)
	if u.digest != "" {
		length = u.size
	}
	return u.patch(ctx, length, http.Header{})
}

// reach returns up to where the next chunk goes, and waits until that much is there; it is the offset when everything
// was sent.
func (u *upload) reach(ctx context.Context) (int64, error) {
	written, state := u.blob.Written()
	if state == Growing && written < u.offset+max(u.chunk, 1) {
		r, err := u.blob.Open(ctx, u.offset)
		if err != nil {
			return 0, u.fail(&sourceError{err})
		}
		_, err = io.CopyN(io.Discard, r, max(u.chunk, 1))
		r.Close()
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, u.fail(&sourceError{err})
		}
		if errors.Is(err, io.EOF) {
			state = Complete
		}
		if now, s := u.blob.Written(); s == Complete || state != Complete {
			written, state = now, s
		}
	}
	if state == Complete {
		if err := u.complete(ctx); err != nil {
			return 0, err
		}
		written = u.size
	}
	if u.offset > written {
		return 0, u.fail(fmt.Errorf("the registry has %d bytes of %d: %w", u.offset, written, errWrongContent))
	}
	return min(written, u.offset+max(u.chunk, maxChunk)), nil
}

// complete waits until the blob's descriptor is known.
func (u *upload) complete(ctx context.Context) error {
	descriptor, err := u.blob.Descriptor(ctx)
	if err != nil {
		return u.fail(&sourceError{err})
	}
	u.know(descriptor)
	return nil
}

// sendChunk sends the bytes up to end.
func (u *upload) sendChunk(ctx context.Context, end int64) error {
	err := u.patch(ctx, end-u.offset, http.Header{"Content-Range": {fmt.Sprintf("%d-%d", u.offset, end-1)}})
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusRequestedRangeNotSatisfiable && u.offset > 0 && !u.misfit {
		// Bytes of a broken request may have arrived after the registry said what it had.
		u.misfit = true
		return errOutOfStep
	}
	if err == nil {
		u.misfit = false
	}
	return err
}

// patch sends bytes from the offset on: as many as length says, or all if it is negative.
func (u *upload) patch(ctx context.Context, length int64, header http.Header) error {
	body := &uploadBody{upload: u, from: u.offset, length: length}
	defer body.retire()
	header.Set("Content-Type", "application/octet-stream")
	r := &request{
		method: http.MethodPatch, url: u.at, header: header, access: u.access,
		open: body.open, length: length, single: true,
	}
	u.sent = true
	resp, err := u.host.once(ctx, u.task, r, http.StatusAccepted, http.StatusNoContent, http.StatusCreated, http.StatusOK)
	if err != nil {
		return u.blame(body, err)
	}
	drain(resp.Body)
	u.move(resp)
	sent := body.retire()
	end, ok := rangeEnd(resp.Header.Get("Range"))
	if !ok || end <= 1 { // "0-0" stands for one byte, for none, and for a registry that does not say
		end = u.offset + sent
	}
	if end > u.offset+sent || end < u.offset {
		return u.fail(fmt.Errorf("the registry has %d bytes of the %d sent: %w", end, u.offset+sent, errWrongContent))
	}
	if end == u.offset && sent > 0 {
		return errOutOfStep
	}
	u.offset = end
	return nil
}

// commit names the digest of what was sent.
func (u *upload) commit(ctx context.Context) error {
	resp, err := u.host.once(ctx, u.task, &request{
		method: http.MethodPut, url: withDigest(u.at, u.digest), access: u.access, answer: u.host.timeouts.Commit,
	}, http.StatusCreated, http.StatusOK, http.StatusNoContent, http.StatusAccepted)
	if err != nil {
		return err
	}
	drain(resp.Body)
	return u.checkStored(resp)
}

// putWhole sends all bytes and the digest in one request.
func (u *upload) putWhole(ctx context.Context) error {
	body := &uploadBody{upload: u, length: u.size}
	defer body.retire()
	u.sent = true
	resp, err := u.host.once(ctx, u.task, &request{
		method: http.MethodPut, url: withDigest(u.at, u.digest), access: u.access, answer: u.host.timeouts.Commit,
		header: http.Header{"Content-Type": {"application/octet-stream"}},
		open:   body.open, length: u.size,
	}, http.StatusCreated, http.StatusOK, http.StatusNoContent, http.StatusAccepted)
	if err != nil {
		return u.blame(body, err)
	}
	drain(resp.Body)
	return u.checkStored(resp)
}

func (u *upload) checkStored(resp *http.Response) error {
	if stored := resp.Header.Get("Docker-Content-Digest"); stored != "" && stored != u.digest {
		return u.fail(fmt.Errorf("the registry stored it as %q: %w", tidy(stored, 200), errWrongContent))
	}
	u.offset = u.size
	return nil
}

// withDigest adds the digest to an upload's address. The rest stays as the registry wrote it: it may be signed.
func withDigest(at *url.URL, digest string) *url.URL {
	u := *at
	u.RawQuery = joinQuery(u.RawQuery, "digest="+url.QueryEscape(digest))
	return &u
}

// rangeEnd reads how many bytes the registry has from "0-1023".
func rangeEnd(value string) (int64, bool) {
	_, last, ok := strings.Cut(strings.TrimPrefix(value, "bytes="), "-")
	end, err := strconv.ParseInt(strings.TrimSpace(last), 10, 64)
	return end + 1, ok && err == nil && end >= 0
}

// fail wraps an error that is not the registry's refusal.
func (u *upload) fail(err error) error { return &Error{Op: u.task.op, Ref: u.task.ref, Err: err} }

// blame puts an error down to the blob's own reader if that is where it came from.
func (u *upload) blame(body *uploadBody, err error) error {
	if source := body.failure(); source != nil {
		return u.fail(&sourceError{source})
	}
	return err
}
