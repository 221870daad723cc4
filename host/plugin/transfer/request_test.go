package transfer

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

func TestLegible(t *testing.T) {
	t.Parallel()
	for page, want := range map[string]string{
		"": "",
		`<?xml version="1.0"?><Error><Code>NoSuchBucket</Code><Message>The bucket is not there</Message><Key>k</Key></Error>`: "NoSuchBucket: The bucket is not there",
		"<html><head><title>502</title></head>\n<body>Bad\tGateway</body></html>":                                             "502 Bad Gateway",
		`{"message":"no"}`:          `{"message":"no"}`,
		"\x1b[31mred\u202e\x00":     "�[31mred��",
		strings.Repeat("x", 10_000): strings.Repeat("x", 200) + "…",
		"<Code>half":                "half",
	} {
		if got := legible(page); got != want {
			t.Errorf("legible(%.50q) = %q, want %q", page, got, want)
		}
	}
}

// What is missing is a miss only where something was asked for.
func TestRefusalCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method string
		status int
		want   sdk.ErrorCode
	}{
		{"GET", 404, sdk.CodeNotFound},
		{"GET", 410, sdk.CodeNotFound},
		{"PUT", 404, sdk.CodeInternal},
		{"GET", 401, sdk.CodeUnauthorized},
		{"PUT", 403, sdk.CodeUnauthorized},
		{"PUT", 503, sdk.CodeUnavailable},
		{"GET", 400, sdk.CodeInternal},
	} {
		err := error(&refusal{method: tt.method, status: tt.status})
		if got := sdk.AsError(err).Code; got != tt.want || errors.Is(err, sdk.ErrNotFound) != (tt.want == sdk.CodeNotFound) {
			t.Errorf("%s %d: code %q, want %q", tt.method, tt.status, got, tt.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "Mon, 01 Jan 2001 00:00:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}); got != want {
			t.Errorf("retryAfter(%q) = %s, want %s", value, got, want)
		}
	}
	later := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	if got := retryAfter(http.Header{"Retry-After": {later}}); got < 59*time.Minute || got > time.Hour {
		t.Errorf("retryAfter of an hour from now is %s", got)
	}
}
