package objects_test

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/objects"
	"github.com/trowel-build/trowel/sdk/plugintest"
)

// shelf is a web server that keeps what is PUT, for who has the token.
type shelf struct {
	mu      sync.Mutex
	objects map[string][]byte
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	object, held := s.objects[r.URL.Path]
	switch {
	case err != nil:
		w.WriteHeader(http.StatusBadRequest)
	case r.Header.Get("Authorization") != "Bearer t0ken":
		w.WriteHeader(http.StatusForbidden)
	case r.Method == http.MethodPut:
		s.objects[r.URL.Path] = body
		w.WriteHeader(http.StatusCreated)
	case held:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(object))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	plugintest.PlannedCache(t, func(t *testing.T) (plugintest.Planner, plugintest.Mover) {
		server := httptest.NewServer(&shelf{objects: map[string][]byte{}})
		t.Cleanup(server.Close)
		host := &plugintest.Host{Secrets: map[string]plugintest.Secret{"token": {Value: "t0ken", Use: "header"}}}
		return objects.Store{Request: func(_, object string) sdk.HTTPRequest {
			return sdk.HTTPRequest{URL: server.URL + "/" + object, Header: []sdk.Header{{Name: "Authorization", Value: "Bearer {{secret:token}}"}}}
		}}, host
	})
}

// answers gives every request the same answer, and counts them.
type answers struct {
	sdk.HTTPResponse
	calls, requests int
}

func (a *answers) HTTP(_ context.Context, requests []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	a.calls++
	a.requests += len(requests)
	all := make([]sdk.HTTPResponse, len(requests))
	for i := range all {
		all[i] = a.HTTPResponse
	}
	return all, nil
}

const digest = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"

// Only a 404 is a miss, and only of what is looked up.
func TestFaults(t *testing.T) {
	t.Parallel()
	store := objects.Store{Request: func(_, object string) sdk.HTTPRequest { return sdk.HTTPRequest{URL: "http://x/" + object} }}
	for name, tt := range map[string]struct {
		answer   sdk.HTTPResponse
		read     sdk.ErrorCode // of look-ups; empty is a miss
		write    sdk.ErrorCode
		attempts int
	}{
		"missing":     {sdk.HTTPResponse{Status: 404}, "", sdk.CodeInvalid, 1},
		"refused":     {sdk.HTTPResponse{Status: 401}, sdk.CodeUnauthorized, sdk.CodeUnauthorized, 1},
		"forbidden":   {sdk.HTTPResponse{Status: 403}, sdk.CodeUnauthorized, sdk.CodeUnauthorized, 1},
		"strange":     {sdk.HTTPResponse{Status: 302}, sdk.CodeInternal, sdk.CodeInternal, 1},
		"busy":        {sdk.HTTPResponse{Status: 503}, sdk.CodeUnavailable, sdk.CodeUnavailable, objects.Attempts},
		"not reached": {sdk.HTTPResponse{Error: &sdk.Error{Code: sdk.CodeUnavailable}}, sdk.CodeUnavailable, sdk.CodeUnavailable, objects.Attempts},
		"denied":      {sdk.HTTPResponse{Error: &sdk.Error{Code: sdk.CodeDenied}}, sdk.CodeDenied, sdk.CodeDenied, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // pauses take no time
				host := &answers{HTTPResponse: tt.answer}
				ctx := sdk.WithServices(t.Context(), sdk.Services{HTTP: host})
				records, err := store.GetRecords(ctx, []sdk.Key{"a", "b", "a", "NO KEY"})
				mustBe(t, "GetRecords", err, tt.read)
				if len(records) > 0 || host.calls != tt.attempts || host.requests != 2*tt.attempts {
					t.Errorf("%d records by %d requests in %d calls", len(records), host.requests, host.calls)
				}
				_, err = store.StatBlobs(ctx, []sdk.Digest{digest})
				mustBe(t, "StatBlobs", err, tt.read)
				_, err = store.GetBlob(ctx, digest)
				mustBe(t, "GetBlob", err, cmp.Or(tt.read, sdk.CodeNotFound))
				mustBe(t, "PutRecords", store.PutRecords(ctx, []sdk.Record{{Key: "a"}}), tt.write)
			})
		})
	}
}

func mustBe(t *testing.T, doing string, err error, code sdk.ErrorCode) {
	t.Helper()
	if err == nil && code != "" || err != nil && sdk.AsError(err).Code != code {
		t.Errorf("%s: error %v, want one of the code %q", doing, err, code)
	}
}

// A record that is larger than one can be is not believed, and does not hide the others.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	host := &plugintest.Host{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := 1
		if strings.HasSuffix(r.URL.Path, "large") {
			n = 1<<20 + 1
		}
		_, _ = w.Write(make([]byte, n))
	}))
	t.Cleanup(server.Close)
	store := objects.Store{Request: func(_, object string) sdk.HTTPRequest { return sdk.HTTPRequest{URL: server.URL + "/" + object} }}
	records, err := store.GetRecords(host.Context(t.Context()), []sdk.Key{"large", "small"})
	if err != nil || len(records) != 1 || records[0].Key != "small" || len(host.Messages()) != 1 {
		t.Errorf("%d records, messages %q, error %v", len(records), host.Messages(), err)
	}
}

// What cannot be signed for the host to send is refused.
func TestUnsigned(t *testing.T) {
	t.Parallel()
	store := objects.Store{Request: func(_, object string) sdk.HTTPRequest {
		return sdk.HTTPRequest{URL: "http://x/" + object, Sign: &sdk.SignRequest{Method: sdk.SignHMAC}}
	}}
	_, err := store.PlanPut(t.Context(), sdk.Blob{Digest: digest, Size: 1})
	mustBe(t, "PlanPut", err, sdk.CodeUnsupported)
}
