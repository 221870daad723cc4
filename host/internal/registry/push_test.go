package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPushCompleteBlob(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"empty": 0, "small": 1000, "at the limit": smallBlob, "large": smallBlob + 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newTestRegistry(t)
			client := newTestClient(t, Options{})
			content := noise(1, size)
			var last int64
			outcome, err := client.Push(t.Context(), server.repository("team/app"), completeBlob(content), nil, func(n int64) { last = n })
			if err != nil || outcome != Uploaded {
				t.Fatalf("Push = %q, %v", outcome, err)
			}
			if !bytes.Equal(server.blob("team/app", describe(content)), content) {
				t.Error("the registry has other bytes")
			}
			if last != int64(size) {
				t.Errorf("reported %d of %d bytes", last, size)
			}
			again, err := newTestClient(t, Options{}).Push(t.Context(), server.repository("team/app"), completeBlob(content), nil, nil)
			if err != nil || again != Existed {
				t.Errorf("the second Push = %q, %v; want %q", again, err, Existed)
			}
			if got := len(server.seen(http.MethodPost)); got != 1 {
				t.Errorf("%d uploads were opened, want 1", got)
			}
		})
	}
}

func TestPushStreamsBeforeTheDigestIsKnown(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	client := newTestClient(t, Options{})
	content := noise(2, 3<<20)
	blob := growingBlob(content[:1<<20])
	done := make(chan error, 1)
	go func() {
		outcome, err := client.Push(t.Context(), server.repository("app"), blob, nil, nil)
		if err == nil && outcome != Uploaded {
			err = fmt.Errorf("outcome %q", outcome)
		}
		done <- err
	}()
	waitFor(t, "the first half of the blob to arrive", func() bool { return server.received() >= 1<<20 })
	blob.grow(content[1<<20:])
	waitFor(t, "the rest to arrive", func() bool { return server.received() >= 3<<20 })
	select {
	case err := <-done:
		t.Fatalf("Push ended before the blob was complete: %v", err)
	default:
	}
	blob.complete()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(server.blob("app", describe(content)), content) {
		t.Error("the registry has other bytes")
	}
	if got := len(server.seen(http.MethodPatch)); got != 1 {
		t.Errorf("sent in %d requests, want 1", got)
	}
}

// received returns how many bytes the open uploads hold.
func (s *testRegistry) received() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, u := range s.uploads {
		n += len(u.data)
	}
	return n
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestPushPausesForASlowBlob(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	client := newTestClient(t, Options{Timeouts: Timeouts{Idle: 20 * time.Millisecond}})
	content := noise(3, 2<<20)
	blob := growingBlob(content[:1<<20])
	done := make(chan error, 1)
	go func() {
		_, err := client.Push(t.Context(), server.repository("app"), blob, nil, nil)
		done <- err
	}()
	waitFor(t, "the request to end", func() bool { return len(blob.offsets()) >= 2 })
	blob.grow(content[1<<20:])
	blob.complete()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(server.blob("app", describe(content)), content) {
		t.Error("the registry has other bytes")
	}
	if sent := bodies(server.seen(http.MethodPatch)); sent != 2<<20 {
		t.Errorf("sent %d bytes, want each once", sent)
	}
}

func bodies(requests []seenRequest) (n int64) {
	for _, r := range requests {
		n += r.Body
	}
	return n
}

func TestPushMounts(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	client := newTestClient(t, Options{})
	content := noise(9, 1<<20)
	server.add("library/base", content)
	from := []Repository{{Registry: "elsewhere.example.com", Path: "x"}, server.repository("not/here"), server.repository("library/base")}
	outcome, err := client.Push(t.Context(), server.repository("app"), completeBlob(content), from, nil)
	if err != nil || outcome != Mounted {
		t.Fatalf("Push = %q, %v; want %q", outcome, err, Mounted)
	}
	if server.blob("app", describe(content)) == nil {
		t.Error("the blob is not there")
	}
	if sent := bodies(server.seen("")); sent != 0 || server.openUploads() != 0 {
		t.Errorf("sent %d bytes, left %d uploads open", sent, server.openUploads())
	}
	outcome, err = client.Push(t.Context(), server.repository("app"), completeBlob(noise(10, 10)), from, nil)
	if err != nil || outcome != Uploaded {
		t.Errorf("Push of what is nowhere = %q, %v; want %q", outcome, err, Uploaded)
	}
	if server.openUploads() != 0 {
		t.Errorf("left %d uploads open", server.openUploads())
	}
}

func TestPushOnceForAll(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	client := newTestClient(t, Options{})
	content := noise(11, 1<<20)
	var group sync.WaitGroup
	var uploaded atomic.Int32
	for range 8 {
		group.Go(func() {
			outcome, err := client.Push(t.Context(), server.repository("app"), completeBlob(content), nil, nil)
			if err != nil {
				t.Error(err)
			}
			if outcome == Uploaded {
				uploaded.Add(1)
			}
		})
	}
	group.Wait()
	if uploaded.Load() != 1 || bodies(server.seen("")) != 1<<20 {
		t.Errorf("%d of 8 pushes uploaded %d bytes, want one of 1 MiB", uploaded.Load(), bodies(server.seen("")))
	}
}

func TestPushReportsTheBlobsOwnFault(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	clock := newFakeClock()
	client := newTestClient(t, Options{clock: clock})
	blob := growingBlob(noise(12, 1<<20))
	fault := errors.New("disk full")
	go func() {
		for server.received() == 0 {
			time.Sleep(time.Millisecond)
		}
		blob.fail(fault)
	}()
	_, err := client.Push(t.Context(), server.repository("app"), blob, nil, nil)
	if !errors.Is(err, fault) {
		t.Errorf("error %v, want %v in it", err, fault)
	}
	if len(clock.pauses()) != 0 {
		t.Errorf("tried again %d times, although the registry was not at fault", len(clock.pauses()))
	}
	waitFor(t, "the upload to be cancelled", func() bool { return server.openUploads() == 0 })
}

func TestPushEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	client := newTestClient(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	blob := growingBlob(noise(13, 1<<20))
	go func() {
		for server.received() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := client.Push(ctx, server.repository("app"), blob, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	waitFor(t, "the upload to be cancelled", func() bool { return server.openUploads() == 0 })
}

// cancelledBlob is complete, and its first read cancels the push.
type cancelledBlob struct {
	*memoryBlob
	cancel context.CancelFunc
	late   atomic.Int64 // reads after that
}

func (b *cancelledBlob) Open(context.Context, int64) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(&firstRead{b}, &laterReads{b})), nil
}

type firstRead struct{ blob *cancelledBlob }

func (r *firstRead) Read(p []byte) (int, error) {
	r.blob.cancel()
	return copy(p, r.blob.content[:1]), io.EOF
}

type laterReads struct{ blob *cancelledBlob }

func (r *laterReads) Read(p []byte) (int, error) {
	r.blob.late.Add(1)
	return copy(p, r.blob.content), nil
}

// TestPushSendsNoMoreOnceCancelled: the rest of a small blob would be in the registry before its connection is closed.
func TestPushSendsNoMoreOnceCancelled(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	ctx, cancel := context.WithCancel(t.Context())
	blob := &cancelledBlob{memoryBlob: completeBlob(noise(14, 1<<20)), cancel: cancel}
	_, err := newTestClient(t, Options{}).Push(ctx, server.repository("app"), blob, nil, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	waitFor(t, "the upload to be cancelled", func() bool { return server.openUploads() == 0 })
	if late := blob.late.Load(); late > 0 {
		t.Errorf("the blob was read %d times after the push was cancelled", late)
	}
}

// TestPushFromAnotherRegistry copies a blob whose source breaks off once.
func TestPushFromAnotherRegistry(t *testing.T) {
	t.Parallel()
	content := noise(14, 6<<20)
	source, target := newTestRegistry(t), newTestRegistry(t)
	descriptor := source.add("base", content)
	var pulls atomic.Int32
	source.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || pulls.Add(1) > 1 {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:2<<20])
		w.(http.Flusher).Flush()
		reset(w)
		return true
	})
	client := newTestClient(t, Options{})
	outcome, err := client.Push(t.Context(), target.repository("copy"), client.RemoteBlob(source.repository("base"), descriptor), nil, nil)
	if err != nil || outcome != Uploaded {
		t.Fatalf("Push = %q, %v", outcome, err)
	}
	if !bytes.Equal(target.blob("copy", descriptor), content) {
		t.Error("the registry has other bytes")
	}
	if got := source.seen(http.MethodGet); len(got) != 2 || got[1].Range == "" {
		t.Errorf("the source was asked %+v, want a second request with a range", got)
	}
}

func TestCheckPush(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	client := newTestClient(t, Options{})
	if err := client.CheckPush(t.Context(), server.repository("app")); err != nil {
		t.Fatal(err)
	}
	if server.openUploads() != 0 {
		t.Errorf("left %d uploads open", server.openUploads())
	}
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		refuse(w, http.StatusForbidden, "DENIED", "requested access to the resource is denied")
		return true
	})
	err := client.CheckPush(t.Context(), server.repository("app"))
	if !errors.Is(err, ErrDenied) {
		t.Fatalf("error %v, want %v", err, ErrDenied)
	}
	if want := fmt.Sprintf("push to %q: access denied (DENIED: requested access to the resource is denied)", server.host()+"/app"); err.Error() != want {
		t.Errorf("error %q\n want %q", err, want)
	}
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Hint, "docker login "+server.host()) {
		t.Errorf("hint %q does not say how to log in", e.Hint)
	}
}

func TestRepositoryMustExist(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	server.intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "the repository does not exist")
		return true
	})
	err := newTestClient(t, Options{}).CheckPush(t.Context(), server.repository("team/app"))
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Hint, `create "team/app" there first`) {
		t.Errorf("error %v without the hint", err)
	}
}
