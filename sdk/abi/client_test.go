package abi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

func codeOf(err error) sdk.ErrorCode {
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		return e.Code
	}
	return ""
}

// readerContent is content by Open alone.
func readerContent(open func() io.Reader) sdk.Content {
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(open()), nil }}
}

// TestUntrustedCache: what a cache was not asked for does not reach the host.
func TestUntrustedCache(t *testing.T) {
	t.Parallel()
	s := &scripted{memory: newMemory()}
	client, _ := dial(t, cachePlugin(s), sdk.KindCache, sdk.Services{})
	c := client.Cache()
	for name, records := range map[string][]sdk.Record{
		"not asked for": {{Key: "b"}}, "twice": {{Key: "a"}, {Key: "a"}}, "too large": {{Key: "a", Value: make([]byte, 1<<20+1)}},
	} {
		s.getRecords = func([]sdk.Key) []sdk.Record { return records }
		if got, err := c.GetRecords(t.Context(), []sdk.Key{"a"}); codeOf(err) != sdk.CodeInvalid || got != nil {
			t.Errorf("a record %s: %d records, error %v", name, len(got), err)
		}
	}
	for name, blobs := range map[string][]sdk.Blob{
		"not asked for": {{Digest: "b"}}, "twice": {{Digest: "a"}, {Digest: "a"}}, "of negative size": {{Digest: "a", Size: -1}},
	} {
		s.statBlobs = func([]sdk.Digest) []sdk.Blob { return blobs }
		if got, err := c.StatBlobs(t.Context(), []sdk.Digest{"a"}); codeOf(err) != sdk.CodeInvalid || got != nil {
			t.Errorf("a blob %s: %v, error %v", name, got, err)
		}
	}
	for name, transfer := range map[string]sdk.Transfer{
		"gap":        {Parts: []sdk.TransferPart{{Length: 4}, {Offset: 5, Length: 5}}},
		"overlap":    {Parts: []sdk.TransferPart{{Length: 4}, {Offset: 3, Length: 7}}},
		"short":      {Parts: []sdk.TransferPart{{Length: 9}}},
		"long":       {Parts: []sdk.TransferPart{{Length: 11}}},
		"open first": {Parts: []sdk.TransferPart{{}, {Offset: 10}}},
		"negative":   {Parts: []sdk.TransferPart{{Length: -1}}},
		"overflow":   {Parts: []sdk.TransferPart{{Length: 4}, {Offset: 4, Length: 1<<63 - 1}}},
	} {
		s.planPut = func(sdk.Blob) (sdk.Transfer, error) { return transfer, nil }
		if _, err := c.PlanPut(t.Context(), sdk.Blob{Digest: "a", Size: 10}); codeOf(err) != sdk.CodeInvalid {
			t.Errorf("a transfer with a %s: error %v", name, err)
		}
	}
	for name, content := range map[string]sdk.Content{
		"a transfer of no parts":  {Transfer: &sdk.Transfer{}},
		"a transfer of two parts": {Transfer: &sdk.Transfer{Parts: make([]sdk.TransferPart, 2)}},
		"nothing":                 {},
	} {
		s.getBlob = func(context.Context) (sdk.Content, error) { return content, nil }
		if _, err := c.GetBlob(t.Context(), "a"); err == nil {
			t.Errorf("GetBlob took %s", name)
		}
	}
}

// rawConn answers with what it is told, as a plugin does that is not made with this package.
type rawConn struct {
	write  []byte
	answer string
	err    error
}

func (r rawConn) Call(_ context.Context, _ abi.Op, _ []byte, streams abi.Streams) ([]byte, error) {
	if w, ok := streams[1].(io.Writer); ok {
		_, _ = w.Write(nil)
		if len(r.write) > 0 {
			if _, err := w.Write(r.write); err != nil {
				return nil, err
			}
		}
	}
	return []byte(r.answer), r.err
}

func TestUntrustedAnswers(t *testing.T) {
	t.Parallel()
	for name, conn := range map[string]rawConn{
		"nothing":           {},
		"no envelope":       {answer: `{}`},
		"both":              {answer: `{"ok":{},"error":{"code":"internal"}}`},
		"broken":            {answer: `{"ok":{`},
		"another type":      {answer: `{"ok":[]}`},
		"a file":            {answer: `{"ok":{"file":"/etc/passwd"}}`},
		"a wrong count":     {answer: `{"ok":{"streamed":3}}`},
		"too large":         {answer: `{"ok":{"x":"` + strings.Repeat("x", abi.MaxResponse) + `"}}`},
		"the call's error":  {err: &sdk.Error{Code: sdk.CodeCrashed}},
		"an error, no code": {answer: `{"error":{}}`},
	} {
		if _, err := abi.NewClient(conn).Cache().GetBlob(t.Context(), "a"); codeOf(err) == "" {
			t.Errorf("GetBlob of a plugin that answers %s: error %v", name, err)
		}
	}
	for name, conn := range map[string]rawConn{
		"bytes and a transfer": {write: []byte("abc"), answer: `{"ok":{"streamed":3,"transfer":{"parts":[{}]}}}`},
		"a wrong count":        {write: []byte("abc"), answer: `{"ok":{"streamed":4}}`},
		"an error":             {write: []byte("abc"), answer: `{"error":{"code":"unavailable"}}`},
		"a crash":              {write: []byte("abc"), err: &sdk.Error{Code: sdk.CodeCrashed}},
	} {
		content, err := abi.NewClient(conn).Cache().GetBlob(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		r, err := content.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); string(got) != "abc" || codeOf(err) == "" {
			t.Errorf("a plugin that answers bytes, then %s: %q, error %v", name, got, err)
		}
		r.Close()
	}
	effects := abi.NewClient(rawConn{answer: `{"ok":{"effects":[{"mkdir":{"path":"a"}},{"teleport":{}}]}}`})
	if _, err := effects.Instruction().Plan(t.Context(), sdk.Call{}); codeOf(err) != sdk.CodeInvalid || !strings.Contains(err.Error(), "number 2") {
		t.Errorf("an effect that the host does not know: error %v", err)
	}
	kind := abi.NewClient(rawConn{answer: `{"ok":{"kind":"golden"}}`})
	if c, err := kind.Credential().Credential(t.Context(), sdk.CredentialRequest{}); codeOf(err) != sdk.CodeInvalid || c != (sdk.Credential{}) {
		t.Errorf("a credential of an unknown kind: %v, error %v", c, err)
	}
}

// TestGetBlobEnds: an operation that nobody reads ends, and holds up nothing.
func TestGetBlobEnds(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 4)
	reads := make(chan struct{}, 1<<20)
	endless := readerContent(func() io.Reader { return zeros{reads} })
	s := &scripted{memory: newMemory(), getBlob: func(ctx context.Context) (sdk.Content, error) {
		context.AfterFunc(ctx, func() { ended <- ctx.Err() })
		return endless, nil
	}}
	client, l := dial(t, cachePlugin(s), sdk.KindCache, sdk.Services{})
	wait := func(what string) {
		t.Helper()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the operation did not end", what)
		}
		for deadline := time.Now().Add(10 * time.Second); l.running.Load() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the call is still running", what)
			}
		}
	}
	get := func(ctx context.Context) sdk.Content {
		t.Helper()
		content, err := client.Cache().GetBlob(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		return content
	}

	ctx, cancel := context.WithCancel(t.Context())
	content := get(ctx)
	<-reads
	<-reads
	time.Sleep(20 * time.Millisecond) // the plugin waits for its second write to be read
	cancel()
	wait("the context of GetBlob ended before Open")

	r, err := content.Open(t.Context())
	if err != nil {
		t.Fatalf("Open after GetBlob's context ended: %v", err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	wait("closed early")

	ctx, cancel = context.WithCancel(t.Context())
	r, err = get(t.Context()).Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("a read whose context ended: error %v does not wrap context.Canceled", err)
	}
	wait("the context of Open ended")
	r.Close()

	ctx, cancel = context.WithCancel(t.Context())
	s.getBlob = func(inner context.Context) (sdk.Content, error) {
		cancel()
		<-inner.Done()
		return sdk.Content{}, inner.Err()
	}
	if _, err := client.Cache().GetBlob(ctx, "a"); !errors.Is(err, context.Canceled) || codeOf(err) != sdk.CodeCancelled {
		t.Errorf("GetBlob whose context ended: error %v", err)
	}
}

// zeros has no end, and tells of each read.
type zeros struct{ reads chan struct{} }

func (z zeros) Read(p []byte) (int, error) {
	select {
	case z.reads <- struct{}{}:
	default:
	}
	clear(p)
	return len(p), nil
}

// TestCarelessPut: content that is not the blob is not put, even if the plugin does not look.
func TestCarelessPut(t *testing.T) {
	t.Parallel()
	var opened error
	s := &scripted{memory: newMemory(), putBlob: func(content sdk.Content) error {
		r, err := content.Open(t.Context())
		if err != nil {
			return err
		}
		_, _ = io.ReadAll(r)
		_, opened = content.Open(t.Context())
		return nil
	}}
	client, _ := dial(t, cachePlugin(s), sdk.KindCache, sdk.Services{})
	for name, tt := range map[string]struct {
		from io.Reader
		want string
	}{
		"short":      {strings.NewReader("1234"), "shorter"},
		"long":       {strings.NewReader("123456"), "longer"},
		"breaks off": {io.MultiReader(strings.NewReader("1234"), failing{}), errNoStream.Error()},
		"right":      {strings.NewReader("12345"), ""},
	} {
		err := client.Cache().PutBlob(t.Context(), sdk.Blob{Digest: "a", Size: 5}, readerContent(func() io.Reader { return tt.from }))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("content that is %s: error %v, want %q", name, err, tt.want)
		}
		if codeOf(opened) != sdk.CodeUnsupported {
			t.Errorf("a second Open of a stream: error %v", opened)
		}
	}
	if err := client.Cache().PutBlob(t.Context(), sdk.Blob{}, sdk.Content{}); codeOf(err) != sdk.CodeInvalid {
		t.Errorf("content that cannot be opened: error %v", err)
	}
}

// TestGetBlobUnread: the context of GetBlob may end after Open took the stream over.
func TestGetBlobUnread(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	s := &scripted{memory: newMemory(), getBlob: func(context.Context) (sdk.Content, error) {
		return readerContent(func() io.Reader { return bytes.NewReader(want) }), nil
	}}
	client, _ := dial(t, cachePlugin(s), sdk.KindCache, sdk.Services{})
	ctx, cancel := context.WithCancel(t.Context())
	content, err := client.Cache().GetBlob(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	r, err := content.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes of %d, error %v", len(got), len(want), err)
	}
}

// TestFiles: the path of a file is taken from plugins that share the host's files, and from no others.
func TestFiles(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, []byte("in the file"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &scripted{memory: newMemory(), getBlob: func(context.Context) (sdk.Content, error) {
		c := readerContent(func() io.Reader { return strings.NewReader("in the stream") })
		c.File = file
		return c, nil
	}}
	client, l := dial(t, cachePlugin(s), sdk.KindCache, sdk.Services{})
	for shared, want := range map[bool]sdk.Content{true: {File: file}, false: {}} {
		l.files = shared
		content, err := client.Cache().GetBlob(t.Context(), "a")
		if err != nil || content.File != want.File {
			t.Fatalf("shared %t: file %q, error %v", shared, content.File, err)
		}
		r, err := content.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantText := map[bool]string{true: "in the file", false: "in the stream"}[shared]
		if got, err := io.ReadAll(r); err != nil || string(got) != wantText {
			t.Errorf("shared %t: read %q, error %v", shared, got, err)
		}
		r.Close()
	}
	l.files = true
	file = "relative"
	if _, err := client.Cache().GetBlob(t.Context(), "a"); codeOf(err) != sdk.CodeInvalid {
		t.Errorf("a relative path: error %v", err)
	}
}

func TestTransfers(t *testing.T) {
	t.Parallel()
	get := sdk.Transfer{Parts: []sdk.TransferPart{{Method: "GET", URL: "https://example.com/b", Header: []sdk.Header{{Name: "A", Value: "b"}}}}, Ranges: true}
	put := sdk.Transfer{Parts: []sdk.TransferPart{{Method: "PUT", Length: 6}, {Method: "PUT", Offset: 6}}, Token: "upload"}
	s := &scripted{
		memory:  newMemory(),
		getBlob: func(context.Context) (sdk.Content, error) { return sdk.Content{Transfer: &get}, nil },
		planPut: func(sdk.Blob) (sdk.Transfer, error) { return put, nil },
	}
	client, _ := dial(t, cachePlugin(s), sdk.KindCache, sdk.Services{})
	content, err := client.Cache().GetBlob(t.Context(), "a")
	if err != nil || !reflect.DeepEqual(content.Transfer, &get) || content.Open != nil || content.File != "" {
		t.Errorf("GetBlob: %+v, error %v", content, err)
	}
	blob := sdk.Blob{Digest: "a", Size: 10}
	if got, err := client.Cache().PlanPut(t.Context(), blob); err != nil || !reflect.DeepEqual(got, put) {
		t.Errorf("PlanPut: %+v, error %v", got, err)
	}
	done := sdk.TransferResult{Token: "upload", Parts: []sdk.PartResult{{Status: 200}, {Status: 201}}}
	if err := client.Cache().FinishPut(t.Context(), blob, done); err != nil || !reflect.DeepEqual(s.finished, &done) {
		t.Errorf("FinishPut gave the plugin %+v, error %v", s.finished, err)
	}
}

// TestLargeBatches: what is too much for one message goes in several.
func TestLargeBatches(t *testing.T) {
	t.Parallel()
	client, _ := dial(t, cachePlugin(newMemory()), sdk.KindCache, sdk.Services{})
	var records []sdk.Record
	var keys []sdk.Key
	for i := range 24 {
		key := sdk.Key("large/" + strconv.Itoa(i))
		keys = append(keys, key)
		records = append(records, sdk.Record{Key: key, Value: bytes.Repeat([]byte{byte(i)}, 1<<20)})
	}
	if err := client.Cache().PutRecords(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	got, err := client.Cache().GetRecords(t.Context(), keys)
	if err != nil || !reflect.DeepEqual(got, records) {
		t.Errorf("%d records came back of %d, error %v", len(got), len(records), err)
	}
}
