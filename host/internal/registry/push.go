package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Blob is content to push. It may still be growing while it is pushed: a layer that is being compressed, say.
type Blob interface {
	// Open opens the bytes from an offset on, and may be called again with another offset. A Read at the end of what
	// is there waits for more, and returns io.EOF only at the end of the whole blob. Once ctx is done, a waiting Read
	// returns an error.
	Open(ctx context.Context, offset int64) (io.ReadCloser, error)
	// Descriptor returns digest and size, and waits until they are known.
	Descriptor(ctx context.Context) (ocispec.Descriptor, error)
	// Written returns how many bytes can be read without waiting, and whether that is all of the blob and its
	// descriptor is known.
	Written() (size int64, state State)
}

// State says whether a [Blob] is complete.
type State int

// The states of a blob.
const (
	Growing State = iota
	Complete
)

// Outcome says how a repository came to have a blob.
type Outcome string

// The outcomes of a push.
const (
	Existed  Outcome = "existed"  // the repository had it
	Mounted  Outcome = "mounted"  // the registry took it from another repository
	Uploaded Outcome = "uploaded" // its bytes were sent
)

const (
	// smallBlob is up to what size a complete blob is sent in a single request.
	smallBlob = 4 << 20
	// earlyBytes is how much of a growing blob must be there before its upload starts: a smaller one is soon complete,
	// and need not be sent at all where the registry has it.
	earlyBytes = 512 << 10
	// maxMounts is from how many repositories a mount is tried.
	maxMounts = 4
)

// Push makes a repository have a blob, by the cheapest way there is: the repository has it, or can mount it from one of
// the given repositories (those on other registries do not matter), or gets its bytes, while they are being made if the
// blob is growing. Pushes of one blob to one repository at the same time become one.
//
// The function report, if not nil, is told how many bytes the registry has been sent so far; the number falls when a
// broken upload goes on from what the registry has. It is called from one goroutine at a time, and not after Push
// returned.
func (c *Client) Push(ctx context.Context, to Repository, blob Blob, from []Repository, report func(sent int64)) (Outcome, error) {
	h, err := c.host(to.Registry)
	if err != nil {
		return "", err
	}
	if report == nil {
		report = func(int64) {}
	}
	u := &upload{
		host: h, repository: to, blob: blob, report: report,
		task: task{op: "push blob", ref: to.String()}, access: access{repository: to.Path, push: pushing},
	}
	if grows, err := staysGrowing(ctx, blob); err != nil {
		return "", &Error{Op: u.task.op, Ref: u.task.ref, Err: err}
	} else if grows {
		return c.pushGrowing(ctx, u)
	}
	descriptor, err := blob.Descriptor(ctx)
	if err != nil {
		return "", &Error{Op: u.task.op, Ref: u.task.ref, Err: err}
	}
	u.know(descriptor)
	return c.pushComplete(ctx, u, from)
}

// staysGrowing says whether a blob is growing and already too large to wait for its end.
func staysGrowing(ctx context.Context, blob Blob) (bool, error) {
	size, state := blob.Written()
	if state == Complete {
		return false, nil
	}
	if size >= earlyBytes {
		return true, nil
	}
	r, err := blob.Open(ctx, 0)
	if err != nil {
		return false, err
	}
	_, err = io.CopyN(io.Discard, r, earlyBytes)
	closeErr := r.Close()
	if errors.Is(err, io.EOF) { // its end is near enough to wait for its digest
		return false, closeErr
	}
	_, state = blob.Written()
	return state == Growing, errors.Join(err, closeErr)
}

// pushGrowing uploads a blob whose digest is not known yet.
func (c *Client) pushGrowing(ctx context.Context, u *upload) (Outcome, error) {
	if err := u.host.pushes.acquire(ctx); err != nil {
		return "", err
	}
	defer u.host.pushes.release()
	u.mode = streaming
	if err := u.run(ctx); err != nil {
		return "", err
	}
	c.markKnown(u.key())
	return Uploaded, nil
}

// pushComplete pushes a blob whose digest is known.
func (c *Client) pushComplete(ctx context.Context, u *upload, from []Repository) (Outcome, error) {
	key := u.key()
	unlock, err := c.inflight.lock(ctx, key)
	if err != nil {
		return "", err
	}
	defer unlock()
	if c.isKnown(key) {
		return Existed, nil
	}
	has, err := u.host.hasBlob(ctx, u.task, u.repository, key.digest, u.access)
	if err != nil {
		return "", err
	}
	if has {
		c.markKnown(key)
		return Existed, nil
	}
	if err := u.host.pushes.acquire(ctx); err != nil {
		return "", err
	}
	defer u.host.pushes.release()
	outcome := Mounted
	if !u.mount(ctx, from) {
		outcome = Uploaded
		u.mode = streaming
		if u.size <= smallBlob {
			u.mode = whole
		}
		if err := u.run(ctx); err != nil {
			return "", err
		}
	}
	c.markKnown(key)
	return outcome, nil
}

// mount asks the registry to take the blob from another repository, and says whether it did. A refusal is no error: the
// bytes are sent then, in the upload that a registry opens instead of a mount.
func (u *upload) mount(ctx context.Context, from []Repository) bool {
	tried := 0
	for _, other := range from {
		if other.Registry != u.repository.Registry || other.Path == u.repository.Path || tried == maxMounts {
			continue
		}
		tried++
		at := u.host.url(u.repository, "blobs/uploads/")
		at.RawQuery = url.Values{"mount": {u.digest}, "from": {other.Path}}.Encode()
		a := u.access
		a.from = other.Path
		resp, err := u.host.call(ctx, u.task, &request{method: http.MethodPost, url: at, access: a}, http.StatusCreated, http.StatusAccepted)
		if err != nil {
			u.host.log.Debug("mount refused", "blob", u.digest, "from", other.String(), "error", err)
			continue
		}
		drain(resp.Body)
		if resp.StatusCode == http.StatusCreated {
			u.cancel(ctx)
			return true
		}
		u.cancel(ctx)
		u.begin(resp)
	}
	return false
}

// CheckPush says whether blobs can be pushed to a repository: it opens an upload and cancels it.
func (c *Client) CheckPush(ctx context.Context, to Repository) error {
	h, err := c.host(to.Registry)
	if err != nil {
		return err
	}
	u := &upload{
		host: h, repository: to, task: task{op: "push to", ref: to.String()},
		access: access{repository: to.Path, push: pushing},
	}
	resp, err := h.call(ctx, u.task, u.startRequest(), http.StatusAccepted)
	if err != nil {
		return err
	}
	drain(resp.Body)
	u.begin(resp)
	u.cancel(ctx)
	return nil
}

// RemoteBlob is a blob in a repository, as something to push elsewhere.
func (c *Client) RemoteBlob(repository Repository, descriptor ocispec.Descriptor) Blob {
	return &remoteBlob{client: c, repository: repository, descriptor: descriptor}
}

type remoteBlob struct {
	client     *Client
	repository Repository
	descriptor ocispec.Descriptor
}

// Open pulls from the offset on.
func (b *remoteBlob) Open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	return b.client.blobFrom(ctx, b.repository, b.descriptor, offset)
}

// Descriptor returns what the blob's manifest says.
func (b *remoteBlob) Descriptor(context.Context) (ocispec.Descriptor, error) {
	return b.descriptor, nil
}

// Written returns the size: nothing has to be waited for.
func (b *remoteBlob) Written() (int64, State) { return b.descriptor.Size, Complete }

// flights lets one push of a blob to a repository go on at a time.
type flights struct {
	mu   sync.Mutex
	busy map[blobKey]chan struct{} // closed when the push ends
}

func newFlights() *flights { return &flights{busy: map[blobKey]chan struct{}{}} }

// lock waits for its turn and returns the function that ends it.
func (f *flights) lock(ctx context.Context, key blobKey) (unlock func(), err error) {
	for {
		f.mu.Lock()
		busy, taken := f.busy[key]
		if !taken {
			done := make(chan struct{})
			f.busy[key] = done
			f.mu.Unlock()
			return func() {
				f.mu.Lock()
				delete(f.busy, key)
				f.mu.Unlock()
				close(done)
			}, nil
		}
		f.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, fmt.Errorf("push blob %q: %w", key.repository.String()+"@"+key.digest, ctx.Err())
		}
	}
}
