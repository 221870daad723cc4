package abi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// readOnly hides that memory can be written to.
type readOnly struct{ sdk.CacheReader }

func TestHello(t *testing.T) {
	t.Parallel()
	constructed := 0
	plugin := sdk.Plugin{
		Name: "mine", Version: "1.2",
		Cache: func(_ context.Context, config *sdk.Config) (sdk.CacheReader, error) {
			constructed++
			switch config.String("have", "") {
			case "reader":
				return readOnly{newMemory()}, config.Err()
			case "planner":
				return &scripted{memory: newMemory()}, config.Err()
			case "nil":
				return nil, nil
			}
			return newMemory(), config.Err()
		},
		Credential: newProvider,
	}
	kinds := []sdk.Kind{sdk.KindCache, sdk.KindCredential}
	for name, tt := range map[string]struct {
		request  abi.HelloRequest
		features []string
		code     sdk.ErrorCode
		text     string
	}{
		"writer":  {abi.HelloRequest{ABI: 1, Kind: sdk.KindCache}, []string{abi.FeatureBlobWriter}, "", ""},
		"reader":  {abi.HelloRequest{ABI: 1, Kind: sdk.KindCache, Config: map[string]any{"have": "reader"}}, nil, "", ""},
		"planner": {abi.HelloRequest{ABI: 1, Kind: sdk.KindCache, Config: map[string]any{"have": "planner"}}, []string{abi.FeatureBlobWriter, abi.FeatureUploadPlanner}, "", ""},
		"another": {abi.HelloRequest{ABI: 1, Kind: sdk.KindCredential}, nil, "", ""},
		"abi":     {abi.HelloRequest{ABI: 2, Kind: sdk.KindCache}, nil, sdk.CodeUnsupported, "ABI 2"},
		"kind":    {abi.HelloRequest{ABI: 1, Kind: sdk.KindInstruction}, nil, sdk.CodeUnsupported, "instruction"},
		"config":  {abi.HelloRequest{ABI: 1, Kind: sdk.KindCache, Config: map[string]any{"hvae": 1}}, nil, sdk.CodeInvalid, "unknown key hvae"},
		"unsent":  {abi.HelloRequest{ABI: 1, Kind: sdk.KindCache, Config: map[string]any{"x": struct{}{}}}, nil, sdk.CodeInvalid, "config.x"},
		"nil":     {abi.HelloRequest{ABI: 1, Kind: sdk.KindCache, Config: map[string]any{"have": "nil"}}, nil, sdk.CodeInternal, "nil"},
	} {
		client := abi.NewClient(&loopback{server: abi.NewServer(plugin)})
		got, err := client.Hello(t.Context(), tt.request)
		if codeOf(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: error %v, want one of the code %q with %q", name, err, tt.code, tt.text)
		}
		want := abi.HelloResponse{Name: "mine", Version: "1.2", SDK: "go 1", Features: tt.features, Kinds: kinds}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}

	constructed = 0
	client := abi.NewClient(&loopback{server: abi.NewServer(plugin)})
	for range 2 {
		if _, err := client.Hello(t.Context(), abi.HelloRequest{ABI: 1, Kind: sdk.KindCache}); err != nil {
			t.Fatal(err)
		}
	}
	if constructed != 1 {
		t.Errorf("two Hellos constructed %d caches", constructed)
	}
	if _, err := client.Credential().Credential(t.Context(), sdk.CredentialRequest{}); codeOf(err) != sdk.CodeInvalid {
		t.Errorf("a kind that was not asked for: error %v", err)
	}
	if _, err := abi.ReadHello(abi.OK([]byte(`{"kinds":["cache"]}`)), sdk.KindCredential); codeOf(err) != sdk.CodeInvalid {
		t.Errorf("ReadHello of another kind: error %v", err)
	}
}

func TestUnsupported(t *testing.T) {
	t.Parallel()
	client, l := dial(t, cachePlugin(readOnly{newMemory()}), sdk.KindCache, sdk.Services{})
	c := client.Cache()
	if err := c.PutBlob(t.Context(), sdk.Blob{}, readerContent(func() io.Reader { return strings.NewReader("") })); codeOf(err) != sdk.CodeUnsupported {
		t.Errorf("PutBlob of a cache that cannot write: error %v", err)
	}
	if _, err := c.PlanPut(t.Context(), sdk.Blob{}); codeOf(err) != sdk.CodeUnsupported {
		t.Errorf("PlanPut of a cache that cannot plan: error %v", err)
	}
	envelope, err := l.Call(t.Context(), 99, []byte("{}"), nil)
	if _, err2 := abi.Result(envelope); err != nil || codeOf(err2) != sdk.CodeUnsupported {
		t.Errorf("an unknown operation: errors %v, %v", err, err2)
	}
	if _, err := abi.Result(abi.HandleHost(t.Context(), sdk.Services{}, 99, nil)); codeOf(err) != sdk.CodeUnsupported {
		t.Errorf("an unknown operation of the host: error %v", err)
	}
	if _, err := abi.Result(abi.HandleHost(t.Context(), sdk.Services{Files: files{}}, abi.HostStat, []byte("{"))); codeOf(err) != sdk.CodeInvalid {
		t.Errorf("a broken request: error %v", err)
	}
}

// TestErrors: an error crosses with all that it says.
func TestErrors(t *testing.T) {
	t.Parallel()
	full := &sdk.Error{Code: sdk.CodeUnavailable, Message: "bucket \"b\": é", Retryable: true, RetryAfterMillis: 1500, Detail: "a\nb"}
	for name, tt := range map[string]struct {
		err  error
		want *sdk.Error
		is   error
	}{
		"not found":  {fmt.Errorf("blob %q: %w", "a", sdk.ErrNotFound), &sdk.Error{Code: sdk.CodeNotFound, Message: `blob "a": not found`}, sdk.ErrNotFound},
		"not mine":   {sdk.ErrNotMine, &sdk.Error{Code: sdk.CodeNotMine, Message: "not mine"}, sdk.ErrNotMine},
		"full":       {full, full, nil},
		"wrapped":    {fmt.Errorf("s3: %w", full), &sdk.Error{Code: sdk.CodeUnavailable, Message: "s3: bucket \"b\": é", Retryable: true, RetryAfterMillis: 1500, Detail: "a\nb"}, nil},
		"plain":      {errScripted, &sdk.Error{Code: sdk.CodeInternal, Message: "as the script says"}, nil},
		"cancelled":  {fmt.Errorf("get: %w", context.Canceled), &sdk.Error{Code: sdk.CodeCancelled, Message: "get: context canceled"}, nil},
		"deadline":   {context.DeadlineExceeded, &sdk.Error{Code: sdk.CodeTimeout, Message: "context deadline exceeded"}, nil},
		"nil":        {nil, &sdk.Error{Code: sdk.CodeInternal, Message: "an error without a cause"}, nil},
		"typed, nil": {&sdk.Error{}, &sdk.Error{Code: sdk.CodeInternal, Message: ""}, nil},
	} {
		_, err := abi.Result(abi.Fail(tt.err))
		if name == "typed, nil" {
			if codeOf(err) != sdk.CodeInternal {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if got, ok := errors.AsType[*sdk.Error](err); !ok || *got != *tt.want {
			t.Errorf("%s: %+v, want %+v", name, err, tt.want)
		}
		for _, sentinel := range []error{sdk.ErrNotFound, sdk.ErrNotMine} {
			if want := errors.Is(tt.is, sentinel); errors.Is(err, sentinel) != want {
				t.Errorf("%s: errors.Is(%v, %v) = %t", name, err, sentinel, !want)
			}
		}
	}
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"ok":{}}`: "{}", ` { "ok" : {"a":"}"} , "more": [1] } `: `{"a":"}"}`, `{"ok":null,"error":{"code":"denied"}}`: "denied",
		`{"error":null,"ok":[]}`: "[]", `{"error":{"code":"denied","new":1}}`: "denied", `{"error":{}}`: "internal",
		`{}`: "either", `{"ok":null}`: "either", `{"ok":{},"error":{}}`: "either", `{"ok":}`: "want a value", `{"ok":{}}x`: "more follows",
		``: "want {", `[]`: "want {", `null`: "either", `{"ok":{"a":"b}`: "string without end", `{"error":"x"}`: "want {",
	} {
		message, err := abi.Result([]byte(in))
		got := string(message)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || got == "" {
			t.Errorf("Result(%s) = %q, error %v, want %q", in, message, err, want)
		}
	}
	if got := string(abi.OK([]byte("{}"))); got != `{"ok":{}}` {
		t.Errorf("OK: %s", got)
	}
}

// host implements all services, and records what it was asked.
type host struct {
	mu  sync.Mutex
	log []string
}

func (h *host) HTTP(_ context.Context, requests []sdk.HTTPRequest) ([]sdk.HTTPResponse, error) {
	out := make([]sdk.HTTPResponse, len(requests))
	for i, r := range requests {
		if r.URL == "https://down.example.com" {
			out[i].Error = &sdk.Error{Code: sdk.CodeUnavailable, Message: "it is down"}
			continue
		}
		out[i] = sdk.HTTPResponse{Status: 200, Header: []sdk.Header{{Name: "X", Value: r.Method}}, Body: r.Body}
	}
	return out, nil
}

func (h *host) Sign(_ context.Context, r sdk.SignRequest) (sdk.SignResponse, error) {
	return sdk.SignResponse{Signature: append([]byte(r.Secret+":"), r.Data...)}, nil
}

func (h *host) Env(_ context.Context, names []string) ([]sdk.Variable, error) {
	if names[0] != "LANG" {
		return nil, &sdk.Error{Code: sdk.CodeDenied, Message: "not granted"}
	}
	return []sdk.Variable{{Name: "LANG", Value: "C"}}, nil
}

func (h *host) Log(_ context.Context, level sdk.Level, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, string(level)+": "+text)
}

type files struct{}

func (files) ReadFile(_ context.Context, root sdk.Root, name string) ([]byte, error) {
	if name == "missing" {
		return nil, fmt.Errorf("read %q: %w", name, sdk.ErrNotFound)
	}
	return []byte(string(root) + "/" + name), nil
}

func (files) Stat(_ context.Context, _ sdk.Root, name string) (sdk.FileInfo, error) {
	return sdk.FileInfo{Name: name, Size: 1 << 60, Mode: fs.ModeDir | 0o755}, nil
}

func (files) ReadDir(_ context.Context, _ sdk.Root, name string) ([]sdk.FileInfo, error) {
	return []sdk.FileInfo{{Name: name + "/a"}, {Name: name + "/b", Size: 2}}, nil
}

// asker is an instruction handler that tells what the services of its call answer.
type asker struct{}

func (asker) Describe(context.Context) ([]sdk.Instruction, error) {
	return []sdk.Instruction{{Keyword: "ASK", MinArgs: 1, MaxArgs: -1}}, nil
}

func (asker) Plan(ctx context.Context, call sdk.Call) (sdk.Plan, error) {
	var plan sdk.Plan
	note := func(v any, err error) { plan.Notes = append(plan.Notes, fmt.Sprint(v, " ", err, " ", codeOf(err))) }
	sdk.Log(ctx, sdk.LevelWarning, strings.Repeat("x", abi.MaxLog+1)[:abi.MaxLog]+call.Keyword)
	http, err := sdk.HTTP(ctx, sdk.HTTPRequest{Method: "PUT", URL: "https://example.com", Body: []byte("body")}, sdk.HTTPRequest{URL: "https://down.example.com"})
	if err != nil {
		note("http", err)
	} else {
		note(fmt.Sprint(http[0].Status, http[0].Get("x"), string(http[0].Body)), http[1].Error)
	}
	signed, err := sdk.Sign(ctx, sdk.SignRequest{Secret: "key", Data: []byte("data")})
	note(string(signed.Signature), err)
	note(sdk.Env(ctx, "LANG"))
	note(sdk.Env(ctx, "HOME"))
	content, err := sdk.ReadFile(ctx, sdk.RootStage, "etc/passwd")
	note(string(content), err)
	_, err = sdk.ReadFile(ctx, sdk.RootStage, "missing")
	note(errors.Is(err, sdk.ErrNotFound), err)
	note(sdk.Stat(ctx, sdk.RootContext, "dir"))
	note(sdk.ReadDir(ctx, sdk.RootContext, "dir"))
	return plan, nil
}

func askerPlugin() sdk.Plugin {
	return sdk.Plugin{Instruction: func(context.Context, *sdk.Config) (sdk.InstructionHandler, error) { return asker{}, nil }}
}

// TestServices: what a handler asks of the host goes there and comes back.
func TestServices(t *testing.T) {
	t.Parallel()
	h := &host{}
	client, _ := dial(t, askerPlugin(), sdk.KindInstruction, sdk.Services{HTTP: h, Sign: h, Env: h, Files: files{}, Log: h})
	described, err := client.Instruction().Describe(t.Context())
	if err != nil || !reflect.DeepEqual(described, []sdk.Instruction{{Keyword: "ASK", MinArgs: 1, MaxArgs: -1}}) {
		t.Errorf("Describe: %+v, error %v", described, err)
	}
	plan, err := client.Instruction().Plan(t.Context(), sdk.Call{Keyword: "ASK"})
	want := []string{
		"200PUTbody it is down unavailable", "key:data <nil> ", "C <nil> ", " not granted denied", "stage/etc/passwd <nil> ",
		`true read "missing": not found not_found`, "{dir 1152921504606846976 drwxr-xr-x} <nil> ", "[{dir/a 0 ----------} {dir/b 2 ----------}] <nil> ",
	}
	if err != nil || !reflect.DeepEqual(plan.Notes, want) {
		t.Errorf("the services answered %q, want %q, error %v", plan.Notes, want, err)
	}
	if len(h.log) != 1 || h.log[0] != "warning: "+strings.Repeat("x", abi.MaxLog) {
		t.Errorf("the log has %d messages", len(h.log))
	}

	bare, _ := dial(t, askerPlugin(), sdk.KindInstruction, sdk.Services{})
	plan, err = bare.Instruction().Plan(t.Context(), sdk.Call{Keyword: "ASK"})
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range plan.Notes {
		if !strings.HasSuffix(note, "unsupported") {
			t.Errorf("without services: %s", note)
		}
	}
}

// TestConcurrentCalls: one plugin answers many at once, each with the services of its own call.
func TestConcurrentCalls(t *testing.T) {
	t.Parallel()
	h := &host{}
	client, _ := dial(t, askerPlugin(), sdk.KindInstruction, sdk.Services{HTTP: h, Sign: h, Env: h, Files: files{}, Log: h})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := client.Hello(t.Context(), abi.HelloRequest{ABI: 1, Kind: sdk.KindInstruction}); err != nil {
				t.Error(err)
			}
			if plan, err := client.Instruction().Plan(t.Context(), sdk.Call{}); err != nil || len(plan.Notes) != 8 {
				t.Errorf("%d notes, error %v", len(plan.Notes), err)
			}
		})
	}
	wg.Wait()
}
