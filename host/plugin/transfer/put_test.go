package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/sdk"
)

func memory(content []byte) sdk.Content {
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

// offers are the ways to offer content.
func offers(t *testing.T, content []byte) map[string]sdk.Content {
	t.Helper()
	file := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return map[string]sdk.Content{"Open": memory(content), "File": {File: file}}
}

func TestPutCounts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		size, part int64
		requests   int
	}{
		{"empty", 0, 0, 1},
		{"small", 100, 0, 1},
		{"large in one", 20 * part, 0, 1},
		{"parts", 10*part + 17, part, 11},
		{"parts larger than all memory", 12 * part, 5 * part, 3},
		{"held already", 100, -1, 0},
	} {
		content := noise(13, int(tt.size))
		for how, offer := range offers(t, content) {
			t.Run(tt.name+" by "+how, func(t *testing.T) {
				t.Parallel()
				s := newServer(t)
				var plan sdk.Transfer
				if tt.part >= 0 {
					plan = s.putPlan("/up", tt.size, tt.part)
				}
				result, err := engine(t).Put(t.Context(), blobOf(content), offer, plan, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(result.Parts) != tt.requests {
					t.Errorf("the result has %d parts, want %d", len(result.Parts), tt.requests)
				}
				for i, p := range result.Parts {
					if p.Status != 200 || !strings.Contains(sdk.HeaderValue(p.Header, "etag"), "/up") {
						t.Errorf("part %d: %v", i, p)
					}
				}
				got := s.object("/up")
				if tt.part > 0 {
					got = s.assembled("/up", tt.size, tt.part)
				}
				if tt.requests > 0 && !bytes.Equal(got, content) {
					t.Errorf("the server has %d bytes that are not those of the blob", len(got))
				}
				s.Close() // waits until all is counted
				if n := s.count(); n != tt.requests || tt.requests > 0 && s.got != tt.size {
					t.Errorf("%d requests with %d bytes, want %d with %d", n, s.got, tt.requests, tt.size)
				}
				if s.largest > 4 {
					t.Errorf("%d requests at once", s.largest)
				}
			})
		}
	}
}

func TestPutPassingFaults(t *testing.T) {
	t.Parallel()
	const size = 6*part + 1000
	content := noise(14, size)
	for name, fault := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"500 before reading": func(w http.ResponseWriter, _ *http.Request) bool { http.Error(w, "no", 500); return true },
		"503 after reading": func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			http.Error(w, "no", http.StatusServiceUnavailable)
			return true
		},
		"reset": func(w http.ResponseWriter, _ *http.Request) bool { return hijack(w, "") },
		"reset half way": func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.CopyN(io.Discard, r.Body, part/2)
			return hijack(w, "")
		},
		"stalls": func(_ http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			return stall(r)
		},
	} {
		for how, offer := range offers(t, content) {
			for _, partSize := range []int64{0, part, 3 * part} {
				t.Run(name+" by "+how, func(t *testing.T) {
					t.Parallel()
					s := newServer(t)
					s.fault = func(w http.ResponseWriter, r *http.Request, n int) bool { return n%3 == 1 && n < 10 && fault(w, r) }
					var warnings atomic.Int32
					e := engine(t, func(o *transfer.Options) {
						o.Warn = func(string) { warnings.Add(1) }
						o.Stall = 200 * time.Millisecond
					})
					if _, err := e.Put(t.Context(), blobOf(content), offer, s.putPlan("/up", size, partSize), nil); err != nil {
						t.Fatal(err)
					}
					got := s.object("/up")
					if partSize > 0 {
						got = s.assembled("/up", size, partSize)
					}
					if !bytes.Equal(got, content) {
						t.Errorf("the server has %d bytes that are not those of the blob", len(got))
					}
					if warnings.Load() == 0 {
						t.Error("there was no warning")
					}
				})
			}
		}
	}
}

var errBroken = errors.New("the disk is gone")

// No server ever has the whole of what is not the blob, and no fault of the content is tried again.
func TestPutRefuses(t *testing.T) {
	t.Parallel()
	content := noise(15, 3*part)
	wrong := bytes.Clone(content)
	wrong[0] ^= 1
	long := append(bytes.Clone(content), 1)
	breaking := sdk.Content{Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(content[:2*part+5]), failing{})), nil
	}}
	closed := sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return nil, errBroken }}
	for _, tt := range []struct {
		name  string
		offer sdk.Content
		want  error
	}{
		{"wrong", memory(wrong), transfer.ErrMismatch},
		{"short", memory(content[:3*part-1]), transfer.ErrMismatch},
		{"long", memory(long), transfer.ErrMismatch},
		{"empty", memory(nil), transfer.ErrMismatch},
		{"breaks off", breaking, errBroken},
		{"cannot be opened", closed, errBroken},
		{"short file", offers(t, content[:3*part-1])["File"], transfer.ErrMismatch},
		{"long file", offers(t, long)["File"], transfer.ErrMismatch},
		{"no file", sdk.Content{File: "/nonexistent"}, os.ErrNotExist},
		{"nothing", sdk.Content{}, nil},
	} {
		for _, partSize := range []int64{0, part, 2 * part} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				s := newServer(t)
				_, err := engine(t).Put(t.Context(), blobOf(content), tt.offer, s.putPlan("/up", 3*part, partSize), nil)
				if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("error %v, want %v", err, tt.want)
				}
				s.Close() // waits for the handlers
				if held, ok := s.objects["/up"]; ok {
					t.Errorf("the server has %d bytes of a blob that is wrong", len(held))
				}
				if n := len(s.requests); n > 3 {
					t.Errorf("%d requests", n)
				}
			})
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBroken }

// An empty blob has no last bytes to be held back: nothing is sent unless the content is empty.
func TestPutNotEmpty(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	_, err := engine(t).Put(t.Context(), blobOf(nil), memory([]byte("x")), s.putPlan("/up", 0, 0), nil)
	if !errors.Is(err, transfer.ErrMismatch) || s.count() != 0 {
		t.Errorf("error %v", err)
	}
}

func TestPutCancelled(t *testing.T) {
	t.Parallel()
	content := noise(16, 10*part)
	for how, offer := range offers(t, content) {
		s := newServer(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the build ended")
		s.fault = func(_ http.ResponseWriter, _ *http.Request, n int) bool {
			if n == 4 {
				cancel(why)
			}
			return false
		}
		_, err := engine(t).Put(ctx, blobOf(content), offer, s.putPlan("/up", 10*part, part), nil)
		if !errors.Is(err, why) {
			t.Errorf("%s: error %v is not why it was cancelled", how, err)
		}
	}
}

// The content is opened once where nothing goes wrong.
func TestPutOpensOnce(t *testing.T) {
	t.Parallel()
	content := noise(17, 9*part)
	for _, partSize := range []int64{0, part, 5 * part} {
		s := newServer(t)
		opened := 0
		offer := sdk.Content{Open: func(context.Context) (io.ReadCloser, error) {
			opened++
			return io.NopCloser(bytes.NewReader(content)), nil
		}}
		if _, err := engine(t).Put(t.Context(), blobOf(content), offer, s.putPlan("/up", 9*part, partSize), nil); err != nil || opened != 1 {
			t.Errorf("opened %d times: %v", opened, err)
		}
	}
}

func TestBadPlans(t *testing.T) {
	t.Parallel()
	put := func(parts ...sdk.TransferPart) sdk.Transfer { return sdk.Transfer{Parts: parts} }
	p := func(offset, length int64) sdk.TransferPart {
		return sdk.TransferPart{Method: "PUT", URL: "http://127.0.0.1:1/secret?sig=hidden", Offset: offset, Length: length}
	}
	with := func(part sdk.TransferPart, name, value string) sdk.TransferPart {
		part.Header = []sdk.Header{{Name: name, Value: value}}
		return part
	}
	for name, plan := range map[string]sdk.Transfer{
		"gap": put(p(0, 10), p(20, 80)), "overlap": put(p(0, 60), p(50, 50)), "short": put(p(0, 10)), "long": put(p(0, 101)),
		"open end in the middle": put(p(0, 0), p(100, 0)), "negative": put(p(0, -1)), "late": put(p(1, 99)),
		"method": put(sdk.TransferPart{Method: "DELETE", URL: "http://127.0.0.1:1/"}),
		"host":   put(with(p(0, 0), "Host", "other")), "length": put(with(p(0, 0), "content-length", "1")),
		"name": put(with(p(0, 0), "a b", "x")), "value": put(with(p(0, 0), "a", "x\r\nb: c")),
		"url": put(sdk.TransferPart{Method: "PUT", URL: "://\x00?sig=hidden"}),
	} {
		_, err := engine(t).Put(t.Context(), blobOf(make([]byte, 100)), memory(make([]byte, 100)), plan, nil)
		if err == nil || sdk.AsError(err).Code != sdk.CodeInvalid || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: error %v", name, err)
		}
		_, err = engine(t).Get(t.Context(), blobOf(make([]byte, 100)), plan, nil)
		if err == nil || sdk.AsError(err).Code != sdk.CodeInvalid {
			t.Errorf("get by %s: error %v", name, err)
		}
	}
}

// A signature in a URL reaches neither error nor warning.
func TestErrorsHideQueries(t *testing.T) {
	t.Parallel()
	content := []byte("x")
	s := newServer(t)
	s.fault = func(w http.ResponseWriter, _ *http.Request, n int) bool {
		if n%2 == 1 {
			return hijack(w, "")
		}
		http.Error(w, "\x1b[31m<b>SlowDown</b>", http.StatusServiceUnavailable)
		return true
	}
	var warnings []string
	e := engine(t, func(o *transfer.Options) { o.Warn = func(text string) { warnings = append(warnings, text) } })
	plan := s.putPlan("/up", 1, 0)
	plan.Parts[0].URL += "?X-Amz-Signature=hidden"
	_, err := e.Put(t.Context(), blobOf(content), memory(content), plan, nil)
	if err == nil {
		t.Fatal("there is no error")
	}
	all := strings.Join(append(warnings, err.Error()), "\n")
	if strings.Contains(all, "hidden") || strings.Contains(all, "\x1b") || !strings.Contains(all, "SlowDown") || len(warnings) != 4 {
		t.Errorf("said: %s", all)
	}
}

// Only what a plugin may need of an answer is told, in order.
func TestPutTellsHeaders(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.fault = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		w.Header()["X-B"] = []string{"2", "1"}
		w.Header().Set("Etag", "e")
		w.Header().Set("Set-Cookie", "session")
		w.WriteHeader(http.StatusCreated)
		return true
	}
	result, err := engine(t).Put(t.Context(), blobOf(nil), memory(nil), s.putPlan("/up", 0, 0), nil)
	want := []sdk.PartResult{{Status: 201, Header: []sdk.Header{{Name: "Etag", Value: "e"}, {Name: "X-B", Value: "2"}, {Name: "X-B", Value: "1"}}}}
	if diff := cmp.Diff(want, result.Parts); diff != "" || err != nil {
		t.Errorf("parts (-want +got), error %v:\n%s", err, diff)
	}
}
