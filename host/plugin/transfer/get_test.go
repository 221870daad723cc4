package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/sdk"
)

// get reads a blob whole.
func get(ctx context.Context, e *transfer.Engine, blob sdk.Blob, plan sdk.Transfer, replan transfer.Replan) ([]byte, error) {
	r, err := e.Get(ctx, blob, plan, replan)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(r)
	return got, errors.Join(err, r.Close())
}

// Each size takes as many requests as it has ranges, and each byte is sent once.
func TestGetCounts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		size, claimed int64
		ranges        bool
		requests      int
	}{
		{"empty", 0, 0, true, 1},
		{"empty, size not known", 0, -1, true, 1},
		{"small", 100, 100, true, 1},
		{"small, size not known", 100, -1, true, 1},
		{"one part", part, part, true, 1},
		{"a part and a byte", part + 1, part + 1, true, 2},
		{"large", 10*part + 17, 10*part + 17, true, 11},
		{"large, size not known", 10*part + 17, -1, true, 11},
		{"large without ranges", 10 * part, 10 * part, false, 1},
		{"large without ranges, size not known", 10 * part, -1, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			content := noise(1, int(tt.size))
			s.put("/blob", content)
			plan := s.getPlan("/blob")
			plan.Ranges = tt.ranges
			got, err := get(t.Context(), engine(t), sdk.Blob{Digest: blobOf(content).Digest, Size: tt.claimed}, plan, nil)
			if err != nil || !bytes.Equal(got, content) {
				t.Fatalf("got %d bytes, want %d: %v", len(got), len(content), err)
			}
			s.Close() // waits until all is counted
			if n := s.count(); n != tt.requests || s.sent != tt.size {
				t.Errorf("%d requests for %d bytes, want %d for %d", n, s.sent, tt.requests, tt.size)
			}
			if s.largest > 4 {
				t.Errorf("%d requests at once", s.largest)
			}
		})
	}
}

// A fault that passes costs requests, never bytes of the answer.
func TestGetPassingFaults(t *testing.T) {
	t.Parallel()
	const size = 6*part + 1000
	content := noise(2, size)
	status := func(code int, header ...string) func(*server, http.ResponseWriter, *http.Request) bool {
		return func(_ *server, w http.ResponseWriter, _ *http.Request) bool {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			http.Error(w, "try again", code)
			return true
		}
	}
	for name, fault := range map[string]func(s *server, w http.ResponseWriter, r *http.Request) bool{
		"500": status(500), "502": status(502), "503": status(503), "504": status(504), "408": status(408), "429": status(429),
		"429 with Retry-After":      status(429, "Retry-After", "0"),
		"reset":                     func(_ *server, w http.ResponseWriter, _ *http.Request) bool { return hijack(w, "") },
		"no HTTP":                   func(_ *server, w http.ResponseWriter, _ *http.Request) bool { return hijack(w, "what?\r\n\r\n") },
		"truncated":                 truncate,
		"stalls before the answer":  func(_ *server, _ http.ResponseWriter, r *http.Request) bool { return stall(r) },
		"stalls within the answer":  stallWithin,
		"short range, though whole": shortRange,
	} {
		for _, ranges := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, ranges %v", name, ranges), func(t *testing.T) {
				t.Parallel()
				if !ranges && strings.HasPrefix(name, "short range") {
					return // is a matter of ranges
				}
				s := newServer(t)
				s.put("/blob", content)
				s.fault = func(w http.ResponseWriter, r *http.Request, n int) bool { return n%3 == 1 && n < 12 && fault(s, w, r) }
				plan := s.getPlan("/blob")
				plan.Ranges = ranges
				var warnings atomic.Int32
				e := engine(t, func(o *transfer.Options) {
					o.Warn = func(string) { warnings.Add(1) }
					o.Stall = 100 * time.Millisecond
				})
				got, err := get(t.Context(), e, blobOf(content), plan, nil)
				if err != nil || !bytes.Equal(got, content) {
					t.Fatalf("got %d bytes, want %d: %v", len(got), size, err)
				}
				if warnings.Load() == 0 {
					t.Error("there was no warning")
				}
			})
		}
	}
}

// truncate announces all and sends half.
func truncate(s *server, w http.ResponseWriter, r *http.Request) bool {
	s.serve(&truncating{ResponseWriter: w, left: part / 2}, r)
	panic(http.ErrAbortHandler)
}

type truncating struct {
	http.ResponseWriter
	left int
}

func (t *truncating) Write(p []byte) (int, error) {
	if len(p) > t.left {
		p = p[:t.left]
	}
	t.left -= len(p)
	n, err := t.ResponseWriter.Write(p)
	if t.left == 0 {
		_ = http.NewResponseController(t.ResponseWriter).Flush()
		return n, io.ErrShortWrite
	}
	return n, err
}

func stallWithin(s *server, w http.ResponseWriter, r *http.Request) bool {
	s.serve(&truncating{ResponseWriter: w, left: part / 2}, r)
	stall(r)
	panic(http.ErrAbortHandler)
}

// shortRange answers with less than was asked for, as a server may.
func shortRange(s *server, w http.ResponseWriter, r *http.Request) bool {
	var from, to int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil {
		return false
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, from+(to-from)/2))
	s.serve(w, r)
	return true
}

// A cut is mended by asking for the rest, not for what is there already.
func TestGetResumes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	content := noise(3, part)
	s.put("/blob", content)
	s.fault = func(w http.ResponseWriter, r *http.Request, n int) bool { return n == 1 && truncate(s, w, r) }
	got, err := get(t.Context(), engine(t), blobOf(content), s.getPlan("/blob"), nil)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("got %d bytes: %v", len(got), err)
	}
	want := []string{"GET /blob", fmt.Sprintf("GET /blob bytes=%d-%d", part/2, part-1)}
	if diff := cmp.Diff(want, s.requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// What is wrong for good is an error, at the latest at the end, and soon.
func TestGetRefuses(t *testing.T) {
	t.Parallel()
	content := noise(4, 5*part)
	wrong := bytes.Clone(content)
	wrong[4*part] ^= 1
	blob := blobOf(content)
	always := func(f func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, r *http.Request, _ int) bool { f(w, r); return true }
	}
	for _, tt := range []struct {
		name     string
		held     []byte
		blob     sdk.Blob
		fault    func(http.ResponseWriter, *http.Request, int) bool
		want     error
		code     sdk.ErrorCode
		requests int // at most
	}{
		{name: "a wrong byte", held: wrong, blob: blob, want: transfer.ErrMismatch, requests: 5},
		{name: "too short", held: content[:5*part-1], blob: blob, want: transfer.ErrMismatch, requests: 1},
		{name: "too long", held: append(bytes.Clone(content), 1), blob: blob, want: transfer.ErrMismatch, requests: 1},
		{name: "another, size not known", held: wrong[:100], blob: sdk.Blob{Digest: blob.Digest, Size: -1}, want: transfer.ErrMismatch, requests: 1},
		{name: "empty instead", held: []byte{}, blob: blob, want: transfer.ErrMismatch, requests: 1},
		{name: "missing", blob: blob, want: sdk.ErrNotFound, code: sdk.CodeNotFound, requests: 1},
		{name: "always 500", held: content, blob: blob, code: sdk.CodeUnavailable, requests: 5, fault: always(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no", 500)
		})},
		{name: "always 403", held: content, blob: blob, code: sdk.CodeUnauthorized, requests: 1, fault: always(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no", http.StatusForbidden)
		})},
		{name: "never an answer", held: content, blob: blob, code: sdk.CodeUnavailable, requests: 10, fault: always(func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, "")
		})},
		{name: "redirect", held: content, blob: blob, code: sdk.CodeInternal, requests: 1, fault: always(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		})},
		{name: "another range", held: content, blob: blob, requests: 5, fault: always(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 1-%d/%d", part, len(content)))
			w.WriteHeader(http.StatusPartialContent)
		})},
		{name: "a wait of an hour", held: content, blob: blob, code: sdk.CodeUnavailable, requests: 1, fault: always(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			http.Error(w, "no", http.StatusTooManyRequests)
		})},
		{name: "no digest", blob: sdk.Blob{Digest: "sha256:abc", Size: 1}, code: sdk.CodeInvalid},
		{name: "longer than it says, without a length", blob: blob, want: transfer.ErrMismatch, requests: 1, fault: always(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(content)
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write([]byte("more"))
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			if tt.held != nil {
				s.put("/blob", tt.held)
			}
			s.fault = tt.fault
			got, err := get(t.Context(), engine(t), tt.blob, s.getPlan("/blob"), nil)
			if err == nil {
				t.Fatalf("there is no error, but %d bytes", len(got))
			}
			if errors.Is(err, io.EOF) {
				t.Errorf("error %v passes for the end of the blob", err)
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v does not wrap %v", err, tt.want)
			}
			if tt.code != "" && sdk.AsError(err).Code != tt.code {
				t.Errorf("error %v has the code %q, want %q", err, sdk.AsError(err).Code, tt.code)
			}
			if n := s.count(); n > tt.requests {
				t.Errorf("%d requests, want at most %d", n, tt.requests)
			}
		})
	}
}

// Two versions of an object are never mixed.
func TestGetChanged(t *testing.T) {
	t.Parallel()
	for _, tag := range []string{`"second"`, `W/"second"`} {
		s := newServer(t)
		content := noise(5, 8*part)
		s.put("/blob", content)
		s.tags["/blob"] = `"first"`
		s.fault = func(_ http.ResponseWriter, _ *http.Request, n int) bool {
			if n == 3 {
				s.mu.Lock()
				s.tags["/blob"] = tag
				s.mu.Unlock()
			}
			return false
		}
		_, err := get(t.Context(), engine(t), blobOf(content), s.getPlan("/blob"), nil)
		if !errors.Is(err, transfer.ErrChanged) {
			t.Errorf("error %v does not wrap ErrChanged", err)
		}
	}
}

// Wrong bytes at the end of the stream, whoever reads it, never end with io.EOF.
func TestGetErrorStays(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.put("/blob", []byte("wrong"))
	r, err := engine(t).Get(t.Context(), blobOf([]byte("right")), s.getPlan("/blob"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 3 {
		if _, err := io.ReadAll(r); !errors.Is(err, transfer.ErrMismatch) {
			t.Fatalf("error %v does not wrap ErrMismatch", err)
		}
	}
}

// Closing early and cancelling end what is in progress.
func TestGetEnds(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	content := noise(6, 20*part)
	s.put("/blob", content)
	e := engine(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := e.Get(ctx, blobOf(content), s.getPlan("/blob"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, part+5); err != nil {
		t.Fatal(err)
	}
	why := errors.New("the build ended")
	cancel(why)
	if _, err := io.ReadAll(r); !errors.Is(err, why) {
		t.Errorf("error %v is not why it was cancelled", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	// All memory is back: as much is fetched ahead as at first.
	for range 3 {
		r, err := e.Get(t.Context(), blobOf(content), s.getPlan("/blob"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("reading what is closed: %v", err)
		}
	}
	if got, err := get(t.Context(), e, blobOf(content), s.getPlan("/blob"), nil); err != nil || !bytes.Equal(got, content) {
		t.Errorf("afterwards: %d bytes, %v", len(got), err)
	}
}

// However many downloads there are, they share the engine's memory, and each gets on without any.
func TestGetWithoutMemory(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	content := noise(7, 6*part)
	s.put("/blob", content)
	e := engine(t)
	var held []io.ReadCloser
	for range 12 {
		r, err := e.Get(t.Context(), blobOf(content), s.getPlan("/blob"), nil)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, r)
	}
	if n := s.count(); n > 12+4 {
		t.Errorf("%d requests are in progress for 12 readers that nobody reads", n)
	}
	for _, r := range held {
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes: %v", len(got), err)
		}
		r.Close()
	}
}
