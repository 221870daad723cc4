package plugintest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugintest"
)

// bucket is a cache that plans transfers to an HTTP server, in parts that are joined when the put is finished. It can be
// made to break its contract in one way.
type bucket struct {
	*memory

	fault   string
	address string
	uploads atomic.Int64

	mu sync.Mutex

	objects map[string][]byte
}

func newBucket(t *testing.T, fault string) (*bucket, *plugintest.Host) {
	b := &bucket{memory: newMemory(""), fault: fault, objects: map[string][]byte{}}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	b.address = server.URL
	return b, &plugintest.Host{Client: server.Client()}
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Method == http.MethodPut {
		b.objects[r.URL.Path] = content
		w.Header().Set("ETag", strconv.Itoa(len(content)))
		return
	}
	object, ok := b.objects[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Write(object)
}

func check(digest sdk.Digest) (string, error) {
	sum, ok := strings.CutPrefix(string(digest), "sha256:")
	if !ok || len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" {
		return "", fmt.Errorf("bad digest %q", digest)
	}
	return sum, nil
}

func (b *bucket) StatBlobs(_ context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []sdk.Blob
	for _, d := range digests {
		if object, ok := b.objects["/"+strings.TrimPrefix(string(d), "sha256:")]; ok {
			out = append(out, sdk.Blob{Digest: d, Size: int64(len(object))})
		}
	}
	return out, nil
}

func (b *bucket) GetBlob(_ context.Context, digest sdk.Digest) (sdk.Content, error) {
	sum, err := check(digest)
	if err != nil && b.fault != "any digest is planned" {
		return sdk.Content{}, err
	}
	b.mu.Lock()
	_, ok := b.objects["/"+sum]
	b.mu.Unlock()
	if !ok && b.fault != "any digest is planned" {
		return sdk.Content{}, sdk.ErrNotFound
	}
	transfer := sdk.Transfer{Parts: []sdk.TransferPart{{Method: "GET", URL: b.address + "/" + sum}}}
	switch b.fault {
	case "gets expire":
		transfer.Expires = time.Now().Add(-time.Minute)
	case "gets wander":
		transfer.Parts[0].URL = fmt.Sprint(b.address, strings.Repeat("/.", int(b.uploads.Add(1))), "/", sum)
	}
	return sdk.Content{Transfer: &transfer}, nil
}

func (b *bucket) PlanPut(_ context.Context, blob sdk.Blob) (sdk.Transfer, error) {
	sum, err := check(blob.Digest)
	if err != nil || blob.Size < 0 {
		return sdk.Transfer{}, errors.Join(errors.New("bad blob"), err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, held := b.objects["/"+sum]; held {
		return sdk.Transfer{}, nil
	}
	upload := "/upload-" + strconv.FormatInt(b.uploads.Add(1), 10) + "-"
	half := blob.Size / 2
	transfer := sdk.Transfer{Token: upload, Expires: time.Now().Add(time.Hour)}
	switch b.fault {
	case "visible at once":
		b.objects["/"+sum] = nil
	case "puts expire":
		transfer.Expires = time.Now().Add(time.Second)
	}
	if half > 0 {
		transfer.Parts = append(transfer.Parts, sdk.TransferPart{Method: "PUT", URL: b.address + upload + "0", Length: half})
	}
	transfer.Parts = append(transfer.Parts, sdk.TransferPart{Method: "PUT", URL: b.address + upload + strconv.Itoa(len(transfer.Parts)), Offset: half, Expect: []int{200}})
	return transfer, nil
}

func (b *bucket) FinishPut(_ context.Context, blob sdk.Blob, done sdk.TransferResult) error {
	sum, err := check(blob.Digest)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var whole bytes.Buffer
	for i, part := range done.Parts {
		name := done.Token + strconv.Itoa(i)
		if sdk.HeaderValue(part.Header, "etag") != strconv.Itoa(len(b.objects[name])) {
			return errors.New("another part than was sent")
		}
		whole.Write(b.objects[name])
		delete(b.objects, name)
	}
	if b.fault == "finished once" && b.objects["/"+sum] != nil {
		return errors.New("is there")
	}
	if b.fault == "the first part is enough" && len(done.Parts) > 1 {
		whole.Truncate(int(blob.Size / 2))
	}
	b.objects["/"+sum] = whole.Bytes()
	return nil
}

var bucketFaults = map[string]string{
	"any digest is planned":    "blobs/a bad digest is refused",
	"gets expire":              "transfers/transfers are not out of date",
	"puts expire":              "transfers/transfers are not out of date",
	"gets wander":              "transfers/gets of a blob are planned alike",
	"visible at once":          "transfers/a put is visible when it is finished, not before",
	"finished once":            "transfers/a put that was begun can be begun again",
	"the first part is enough": "blobs/round trip by Open",
}

// greeter has one instruction, and can be made to break its contract in one way.
type greeter struct {
	fault string
	calls *atomic.Int64
}

func newGreeter(fault string) greeter { return greeter{fault, new(atomic.Int64)} }

func (g greeter) Describe(context.Context) ([]sdk.Instruction, error) {
	in := sdk.Instruction{Keyword: "GREET", MinArgs: 1, MaxArgs: 2, Flags: []sdk.Flag{{Name: "loud", Type: sdk.FlagBool}}}
	switch g.fault {
	case "keyword is taken":
		return []sdk.Instruction{in, {Keyword: "COPY"}}, nil
	case "flag is malformed":
		in.Flags[0].Name = "--loud"
	case "nothing is described":
		return nil, nil
	}
	return []sdk.Instruction{in}, nil
}

func (g greeter) Plan(ctx context.Context, call sdk.Call) (sdk.Plan, error) {
	n := g.calls.Add(1)
	if ctx.Err() != nil && g.fault == "never ends" {
		select {}
	}
	if call.Keyword != "GREET" && g.fault != "any keyword will do" {
		return sdk.Plan{}, &sdk.Error{Code: sdk.CodeInvalid, Message: "unknown"}
	}
	if len(call.Args) == 0 {
		if g.fault == "invalid is internal" {
			return sdk.Plan{}, errors.New("no arguments")
		}
		return sdk.Plan{}, &sdk.Error{Code: sdk.CodeInvalid, Message: "no arguments"}
	}
	name, err := sdk.ReadFile(ctx, sdk.RootContext, call.Args[0])
	if err != nil {
		return sdk.Plan{}, err
	}
	effect := sdk.Effect{Write: &sdk.Write{Path: "/greeting", Content: append([]byte("hello "), name...), Mode: "0644"}}
	switch g.fault {
	case "plans count":
		effect.Write.Content = strconv.AppendInt(effect.Write.Content, n, 10)
	case "two in one":
		effect.Remove = &sdk.Remove{Path: "/x"}
	case "bad mode":
		effect.Write.Mode = "rw"
	case "call is changed":
		call.Args[0] = "changed"
	case "not concurrent":
		time.Sleep(20 * time.Millisecond)
		if g.calls.Load() != n {
			effect.Write.Content = nil
		}
	}
	return sdk.Plan{Effects: []sdk.Effect{effect}}, nil
}

var greeterFaults = map[string]string{
	"keyword is taken":     "the instructions are described",
	"flag is malformed":    "the instructions are described",
	"nothing is described": "the instructions are described",
	"two in one":           "the valid calls have plans that can be carried out",
	"bad mode":             "the valid calls have plans that can be carried out",
	"plans count":          "equal calls have equal plans",
	"call is changed":      "a call stays as it was",
	"invalid is internal":  "invalid calls are refused as such",
	"any keyword will do":  "an unknown instruction is refused",
	"not concurrent":       "concurrent calls have the same plans",
	"never ends":           "a cancelled call ends",
}
