package registry

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPushResumesWhereItBroke(t *testing.T) {
	t.Parallel()
	const size, broken = 12 << 20, 7 << 20
	server := newTestRegistry(t)
	client := newTestClient(t, Options{})
	content := noise(4, size)
	var breaks atomic.Int32
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || breaks.Add(1) > 1 {
			return false
		}
		id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		server.mu.Lock()
		u := server.uploads[id]
		server.mu.Unlock()
		if err := server.receive(u, io.LimitReader(r.Body, broken)); err != nil {
			t.Error(err)
		}
		reset(w)
		return true
	})
	blob := completeBlob(content)
	if _, err := client.Push(t.Context(), server.repository("app"), blob, nil, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(server.blob("app", describe(content)), content) {
		t.Error("the registry has other bytes")
	}
	patches := server.seen(http.MethodPatch)
	if len(patches) != 2 || patches[1].Body != size-broken {
		t.Errorf("after %d bytes, the rest was sent as %+v", broken, patches)
	}
	if diff := cmp.Diff([]int64{0, broken}, blob.offsets()); diff != "" {
		t.Errorf("opened at (-want +got):\n%s", diff)
	}
}

func TestPushBeginsAnewWhenTheUploadIsGone(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	client := newTestClient(t, Options{})
	content := noise(5, 6<<20)
	var patches atomic.Int32
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || patches.Add(1) > 1 {
			return false
		}
		_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
		server.mu.Lock()
		clear(server.uploads)
		server.mu.Unlock()
		reset(w)
		return true
	})
	if _, err := client.Push(t.Context(), server.repository("app"), completeBlob(content), nil, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(server.blob("app", describe(content)), content) {
		t.Error("the registry has other bytes")
	}
}

// TestPushOutlastsFaults refuses every kind of request twice before it succeeds.
func TestPushOutlastsFaults(t *testing.T) {
	t.Parallel()
	for _, status := range []int{500, 502, 503, 504, 429, 408} {
		for name, size := range map[string]int{"small": 1000, "large": 5 << 20} {
			t.Run(fmt.Sprintf("%d %s", status, name), func(t *testing.T) {
				t.Parallel()
				server := newTestRegistry(t)
				clock := newFakeClock()
				client := newTestClient(t, Options{clock: clock})
				var mu sync.Mutex
				refused := map[string]int{}
				server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
					mu.Lock()
					defer mu.Unlock()
					if refused[r.Method]++; refused[r.Method] > 2 || r.Method == http.MethodDelete {
						return false
					}
					w.Header().Set("Retry-After", "7")
					refuse(w, status, "UNAVAILABLE", "come again")
					return true
				})
				content := noise(6, size)
				if _, err := client.Push(t.Context(), server.repository("app"), completeBlob(content), nil, nil); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(server.blob("app", describe(content)), content) {
					t.Error("the registry has other bytes")
				}
				for _, pause := range clock.pauses() {
					if pause < 7*time.Second {
						t.Errorf("paused for %s although the registry asked for 7s", pause)
					}
				}
				if server.openUploads() != 0 {
					t.Errorf("%d uploads left open", server.openUploads())
				}
			})
		}
	}
}

func TestPushGivesUpInTheEnd(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	clock := newFakeClock()
	client := newTestClient(t, Options{clock: clock, Retry: Retry{Attempts: 4}})
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost {
			return false
		}
		refuse(w, 503, "UNAVAILABLE", "never")
		return true
	})
	content := noise(7, 1000)
	_, err := client.Push(t.Context(), server.repository("app"), completeBlob(content), nil, nil)
	want := fmt.Sprintf("push blob %q: the registry answered 503 Service Unavailable (UNAVAILABLE: never)", server.host()+"/app@"+digestOf(content))
	if err == nil || err.Error() != want {
		t.Errorf("error %v\n want %s", err, want)
	}
	if got := len(server.seen(http.MethodPost)); got != 4 {
		t.Errorf("tried %d times, want 4", got)
	}
	for i, pause := range clock.pauses() {
		if full := 250 * time.Millisecond << i; pause < full/2 || pause > full {
			t.Errorf("pause %d is %s, want between %s and %s", i, pause, full/2, full)
		}
	}
}

// TestPushWithoutStreaming is against registries that want to know a request's length, or take no PATCH at all.
func TestPushWithoutStreaming(t *testing.T) {
	t.Parallel()
	for name, refuses := range map[string]func(r *http.Request) int{
		"length required": func(r *http.Request) int {
			if r.Method == http.MethodPatch && r.Header.Get("Content-Range") == "" {
				return http.StatusLengthRequired
			}
			return 0
		},
		"no patch": func(r *http.Request) int {
			if r.Method == http.MethodPatch {
				return http.StatusMethodNotAllowed
			}
			return 0
		},
		"request too large": func(r *http.Request) int {
			if r.ContentLength > maxChunk || r.ContentLength < 0 {
				return http.StatusRequestEntityTooLarge
			}
			return 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newTestRegistry(t)
			server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				status := refuses(r)
				if status != 0 {
					_, _ = io.Copy(io.Discard, r.Body)
					refuse(w, status, "UNSUPPORTED", "not like this")
				}
				return status != 0
			})
			client := newTestClient(t, Options{})
			content := noise(8, maxChunk+5)
			blob := growingBlob(content[:5<<20])
			go func() {
				blob.grow(content[5<<20:])
				blob.complete()
			}()
			if _, err := client.Push(t.Context(), server.repository("app"), blob, nil, nil); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(server.blob("app", describe(content)), content) {
				t.Error("the registry has other bytes")
			}
			if server.openUploads() != 0 {
				t.Errorf("%d uploads left open", server.openUploads())
			}
		})
	}
}

// TestPushOutlastsManyBreaks has more breaks than attempts; each brings the upload further.
func TestPushOutlastsManyBreaks(t *testing.T) {
	t.Parallel()
	const size, piece = 10 << 20, 1 << 20
	server := newTestRegistry(t)
	client := newTestClient(t, Options{Retry: Retry{Attempts: 2}})
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		server.mu.Lock()
		u := server.uploads[id]
		server.mu.Unlock()
		_ = server.receive(u, io.LimitReader(r.Body, piece))
		if len(u.data) < size {
			reset(w)
		}
		server.progress(w, u, id, http.StatusAccepted)
		return true
	})
	content := noise(15, size)
	if _, err := client.Push(t.Context(), server.repository("app"), completeBlob(content), nil, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(server.blob("app", describe(content)), content) {
		t.Error("the registry has other bytes")
	}
}

// TestPushIsNoEndlessLoop is against registries that take every byte and never the blob.
func TestPushIsNoEndlessLoop(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(server *testRegistry, w http.ResponseWriter, r *http.Request) bool{
		"upload lost at its end": func(_ *testRegistry, w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "lost")
			}
			return r.Method == http.MethodPut
		},
		"digest refused": func(_ *testRegistry, w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				_, _ = io.Copy(io.Discard, r.Body)
				refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "no")
			}
			return r.Method == http.MethodPut
		},
		"nothing kept": func(server *testRegistry, w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPatch {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Location", r.URL.Path)
				w.Header().Set("Range", "0-9")
				w.WriteHeader(http.StatusAccepted)
			}
			return r.Method == http.MethodPatch
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newTestRegistry(t)
			server.intercept(func(w http.ResponseWriter, r *http.Request) bool { return answer(server, w, r) })
			client := newTestClient(t, Options{Retry: Retry{Attempts: 4}})
			if _, err := client.Push(t.Context(), server.repository("app"), completeBlob(noise(16, 5<<20)), nil, nil); err == nil {
				t.Error("the push went well")
			}
			if got := len(server.seen("")); got > 40 {
				t.Errorf("sent %d requests", got)
			}
			if server.openUploads() > 1 {
				t.Errorf("%d uploads left open", server.openUploads())
			}
		})
	}
}

// TestPushOfAnUploadThatGetsLost loses an upload just before its end, once.
func TestPushOfAnUploadThatGetsLost(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"small": 1000, "large": 5 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newTestRegistry(t)
			var puts atomic.Int32
			server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut && puts.Add(1) == 1 {
					server.mu.Lock()
					clear(server.uploads)
					server.mu.Unlock()
				}
				return false
			})
			content := noise(17, size)
			if _, err := newTestClient(t, Options{}).Push(t.Context(), server.repository("app"), completeBlob(content), nil, nil); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(server.blob("app", describe(content)), content) {
				t.Error("the registry has other bytes")
			}
		})
	}
}

// TestPushStall has the registry take no more bytes, and say nothing.
func TestPushStall(t *testing.T) {
	t.Parallel()
	const size = 24 << 20 // more than fits into the buffers of a connection
	server := newTestRegistry(t)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	var patches atomic.Int32
	server.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch || patches.Add(1) > 1 {
			return false
		}
		<-done
		return true
	})
	content := noise(18, size)
	client := newTestClient(t, Options{Timeouts: Timeouts{Stall: 200 * time.Millisecond}})
	if _, err := client.Push(t.Context(), server.repository("app"), completeBlob(content), nil, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(server.blob("app", describe(content)), content) {
		t.Error("the registry has other bytes")
	}
}
