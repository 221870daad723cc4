package abi_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// answering is a host that answers every operation the same.
type answering struct {
	loopbackHost

	answer string
}

func (a *answering) Do(context.Context, abi.HostOp, []byte) ([]byte, error) {
	return []byte(a.answer), nil
}

// TestAnswersOfTheHost: a plugin takes an answer of the host's however it is written, and nothing that is half of one.
func TestAnswersOfTheHost(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"ok":{"variables":[{"name":"A","value":"b"}]}}`:            "b",
		` {"ok" : {"variables":[{"name":"A","value":"b"}]} } `:       "b",
		`{"new":1,"ok":{"variables":[{"name":"A","value":"b"}]}}`:    "b",
		`{"ok":{"variables":[{"name":"A","value":"b"}]} }`:           "b",
		`{"error":{"code":"denied","message":"not granted"}}`:        "error: not granted",
		`{"ok":{"variables":[{"name":"A","value":"b"}]}`:             "error: decode",
		`{"ok":{"variables":[{"name":"A","value":"b"}]}}}`:           "error: decode",
		`{"ok":{"variables":[{"name":"A","value":"b"}]},"error":{}}`: "error: decode",
		`{"ok":{"variables":[{"name":"A","value":"b"}]},"ok":{}}`:    "error: decode",
		`{"ok":{"variables":[{"name":"A","value":"b"}]}} {"ok":{}}`:  "error: decode",
		`{"ok":}`: "error: decode", `{"ok":{}`: "error: decode", `{"ok":`: "error: decode", `{}`: "error: decode", ``: "error: decode",
	} {
		var got string
		server := abi.NewServer(sdk.Plugin{Cache: func(ctx context.Context, _ *sdk.Config) (sdk.CacheReader, error) {
			value, err := sdk.Env(ctx, "A")
			if got = value; err != nil {
				got = "error: " + err.Error()
			}
			return nil, errors.New("asked")
		}})
		hello := abi.AppendHelloRequest(nil, &abi.HelloRequest{ABI: abi.Version, Kind: sdk.KindCache})
		server.Handle(t.Context(), &answering{answer: answer}, abi.OpHello, hello)
		if got != want && (!strings.HasPrefix(want, "error: ") || !strings.HasPrefix(got, want)) {
			t.Errorf("%s: got %q, want %q", answer, got, want)
		}
	}
}
