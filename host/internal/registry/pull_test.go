package registry

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestBlob(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"empty": 0, "one byte": 1, "large": 3 << 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newTestRegistry(t)
			content := noise(1, size)
			descriptor := server.add("app", content)
			client := newTestClient(t, Options{})
			got, err := readBlob(t, client, server.repository("app"), descriptor)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("read %d bytes, %v; want %d", len(got), err, size)
			}
		})
	}
}

func readBlob(t *testing.T, c *Client, repository Repository, descriptor ocispec.Descriptor) ([]byte, error) {
	t.Helper()
	r, err := c.Blob(t.Context(), repository, descriptor)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestBlobOfSHA512(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	content := noise(2, 1000)
	sum := sha512.Sum512(content)
	descriptor := ocispec.Descriptor{Size: 1000, Digest: digest.NewDigestFromBytes(digest.SHA512, sum[:])}
	server.blobs["app@"+descriptor.Digest.String()] = content
	if _, err := readBlob(t, newTestClient(t, Options{}), server.repository("app"), descriptor); err != nil {
		t.Error(err)
	}
	server.blobs["app@"+descriptor.Digest.String()] = noise(3, 1000)
	if _, err := readBlob(t, newTestClient(t, Options{}), server.repository("app"), descriptor); !errors.Is(err, errWrongContent) {
		t.Errorf("error %v, want %v", err, errWrongContent)
	}
}

func TestBlobIsVerified(t *testing.T) {
	t.Parallel()
	const size = 100_000
	content := noise(4, size)
	for name, test := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"other bytes": {
			func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(noise(5, size)) },
			"its 100000 bytes do not have this digest",
		},
		"too long": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.(http.Flusher).Flush()
				_, _ = w.Write(content)
				_, _ = w.Write([]byte("more"))
			},
			"the registry sends more than the blob's 100000 bytes",
		},
		"too long, and says so": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(size+4))
				_, _ = w.Write(append(content[:size:size], "more"...))
			},
			"the registry has 100004 bytes of it, and it should be 100000",
		},
		"truncated": {
			func(w http.ResponseWriter, r *http.Request) {
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content[:size/2]))
			},
			"the registry has 50000 bytes of it, and it should be 100000",
		},
		"truncated, of unknown length": {
			func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
					return
				}
				w.(http.Flusher).Flush()
				_, _ = w.Write(content[:size/2])
			},
			"the registry has only 50000 of its 100000 bytes",
		},
		"another range": {
			func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					w.Header().Set("Content-Range", "bytes 7-99999/100000")
					w.WriteHeader(http.StatusPartialContent)
					return
				}
				w.(http.Flusher).Flush()
				_, _ = w.Write(content[:size/2])
			},
			`the registry answered with the range "bytes 7-99999/100000"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(test.serve)
			defer server.Close()
			repository := Repository{Registry: strings.TrimPrefix(server.URL, "http://"), Path: "app"}
			got, err := readBlob(t, newTestClient(t, Options{}), repository, describe(content))
			if !errors.Is(err, errWrongContent) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v\n want %s", err, test.want)
			}
			if err != nil && !strings.Contains(err.Error(), repository.String()+"@"+digestOf(content)) {
				t.Errorf("error %v does not name the blob", err)
			}
			if len(got) == size && !bytes.Equal(got, content) { // where the registry sends too much, the right one may have been
				t.Error("the wrong blob was given out whole")
			}
		})
	}
}

func TestBlobResumes(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	content := noise(6, size)
	for name, heed := range map[string]bool{"with ranges": true, "without ranges": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newTestRegistry(t)
			descriptor := server.add("app", content)
			var gets atomic.Int32
			server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				n := int(gets.Add(1))
				if n > 3 {
					if !heed {
						r.Header.Del("Range")
					}
					return false
				}
				if n == 2 {
					refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "wait")
					return true
				}
				if n == 3 {
					reset(w)
				}
				w.Header().Set("Content-Length", fmt.Sprint(size))
				_, _ = w.Write(content[:size/4])
				w.(http.Flusher).Flush()
				reset(w)
				return true
			})
			got, err := readBlob(t, newTestClient(t, Options{}), server.repository("app"), descriptor)
			if err != nil || !bytes.Equal(got, content) {
				t.Fatalf("read %d bytes, %v", len(got), err)
			}
			requests := server.seen(http.MethodGet)
			if want := fmt.Sprintf("bytes=%d-%d", size/4, size-1); requests[len(requests)-1].Range != want {
				t.Errorf("asked for the range %q, want %q", requests[len(requests)-1].Range, want)
			}
		})
	}
}

func TestBlobStall(t *testing.T) {
	t.Parallel()
	content := noise(7, 100_000)
	server := newTestRegistry(t)
	descriptor := server.add("app", content)
	var gets atomic.Int32
	server.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if gets.Add(1) > 1 {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	client := newTestClient(t, Options{Timeouts: Timeouts{Stall: 50 * time.Millisecond}})
	if got, err := readBlob(t, client, server.repository("app"), descriptor); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	server.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
	client := newTestClient(t, Options{Timeouts: Timeouts{Answer: 30 * time.Millisecond}, Retry: Retry{Attempts: 2}})
	_, err := client.Exists(t.Context(), server.repository("app"), digestOf(nil))
	if want := "talk to " + server.host() + ": no answer in time"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q in it", err, want)
	}
}

func TestTransfersAreBounded(t *testing.T) {
	t.Parallel()
	server := newTestRegistry(t)
	content := noise(8, 1000)
	descriptor := server.add("app", content)
	client := newTestClient(t, Options{Registries: map[string]Settings{server.host(): {Transfers: 2}}})
	var open []io.ReadCloser
	for range 2 {
		r, err := client.Blob(t.Context(), server.repository("app"), descriptor)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, r)
	}
	third := make(chan error, 1)
	go func() {
		_, err := readBlob(t, client, server.repository("app"), descriptor)
		third <- err
	}()
	select {
	case err := <-third:
		t.Fatalf("a third transfer ran: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := io.Copy(io.Discard, open[0]); err != nil { // its end frees the slot, before it is closed
		t.Fatal(err)
	}
	if err := <-third; err != nil {
		t.Error(err)
	}
	for _, r := range open {
		r.Close()
	}
}

const (
	imageJSON   = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`
	indexJSON   = `{"schemaVersion":2,"manifests":[]}`
	schema1JSON = `{"schemaVersion":1,"name":"x","fsLayers":[]}`
)

func TestMirrors(t *testing.T) {
	t.Parallel()
	content := noise(9, 100_000)
	origin, mirror := newTestRegistry(t), newTestRegistry(t)
	dead := httptest.NewServer(nil)
	dead.Close()
	descriptor := origin.add("library/app", content)
	manifest := storedManifest{mediaType: ocispec.MediaTypeImageManifest, raw: []byte(imageJSON)}
	origin.manifests["library/app@1"] = manifest
	mirrors := []string{strings.TrimPrefix(dead.URL, "http://"), mirror.host() + "/hub"}
	options := Options{Registries: map[string]Settings{origin.host(): {Mirrors: mirrors}}}
	ref := origin.repository("library/app").Tagged("1")

	pullAll := func(t *testing.T, client *Client) {
		t.Helper()
		if _, raw, err := client.Manifest(t.Context(), ref); err != nil || string(raw) != imageJSON {
			t.Errorf("Manifest = %q, %v", raw, err)
		}
		if got, err := readBlob(t, client, ref.Repository, descriptor); err != nil || !bytes.Equal(got, content) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
	}
	pullAll(t, newTestClient(t, options)) // the mirror has nothing
	if got := len(origin.seen("")); got != 2 {
		t.Errorf("the registry was asked %d times, want 2", got)
	}
	mirror.add("hub/library/app", content)
	mirror.mu.Lock()
	mirror.manifests["hub/library/app@1"] = manifest
	mirror.mu.Unlock()
	pullAll(t, newTestClient(t, options))
	if got := len(origin.seen("")); got != 2 {
		t.Errorf("the registry was asked although the mirror had everything")
	}
	mirror.intercept(func(w http.ResponseWriter, r *http.Request) bool { // breaks off in the middle
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:1000])
		w.(http.Flusher).Flush()
		reset(w)
		return true
	})
	pullAll(t, newTestClient(t, options))
	if requests := origin.seen(http.MethodGet); requests[len(requests)-1].Range != "bytes=1000-99999" {
		t.Errorf("the registry was asked for the range %q", requests[len(requests)-1].Range)
	}
}

func TestMirrorThatIsDownIsLeftOut(t *testing.T) {
	t.Parallel()
	clock := newFakeClock()
	origin, mirror := newTestRegistry(t), newTestRegistry(t)
	content := noise(10, 1000)
	descriptor := origin.add("app", content)
	mirror.intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		reset(w)
		return true
	})
	client := newTestClient(t, Options{Registries: map[string]Settings{origin.host(): {Mirrors: []string{mirror.host()}}}, clock: clock})
	for _, step := range []struct {
		pause time.Duration
		asked int
	}{{0, 1}, {downFor / 2, 1}, {downFor, 2}} {
		clock.advance(step.pause)
		if _, err := readBlob(t, client, origin.repository("app"), descriptor); err != nil {
			t.Fatal(err)
		}
		if got := len(mirror.seen("")); got != step.asked {
			t.Errorf("after %s more: the mirror was asked %d times, want %d", step.pause, got, step.asked)
		}
	}
	if len(clock.pauses()) != 0 {
		t.Errorf("waited %v for a mirror", clock.pauses())
	}
}
