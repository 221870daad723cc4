package transfer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/sdk"
)

// BenchmarkThroughput compares moving a blob over loopback with the engine and with io.Copy and SHA-256 of the same bytes
// from and to the same server. The engine has to be at 95 % of that or above.
func BenchmarkThroughput(b *testing.B) {
	const size = 256 << 20
	content := noise(30, size)
	blob := blobOf(content)
	file := filepath.Join(b.TempDir(), "blob")
	if err := os.WriteFile(file, content, 0o644); err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			_, _ = io.Copy(io.Discard, r.Body)
			return
		}
		w.Header().Set("ETag", `"x"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	b.Cleanup(server.Close)
	e := engine(b, func(o *transfer.Options) { o.PartSize, o.Parallel = 0, 0 })
	get := sdk.Transfer{Ranges: true, Parts: []sdk.TransferPart{{Method: "GET", URL: server.URL}}}
	put := sdk.Transfer{Token: "x"}
	for at := int64(0); at < size; at += 16 << 20 {
		put.Parts = append(put.Parts, sdk.TransferPart{Method: "PUT", URL: server.URL, Offset: at, Length: 16 << 20})
	}
	run := func(name string, move func(ctx context.Context) error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				if err := move(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("get/io.Copy", func(ctx context.Context) error { return plainGet(ctx, server.URL, blob) })
	run("get/engine", func(ctx context.Context) error {
		r, err := e.Get(ctx, blob, get, nil)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 256<<10))
		return err
	})
	run("put/io.Copy", func(ctx context.Context) error { return plainPut(ctx, server.URL, file) })
	for how, offer := range map[string]sdk.Content{
		"file": {File: file},
		"open": {Open: func(context.Context) (io.ReadCloser, error) { return os.Open(file) }},
	} {
		run("put/engine by "+how, func(ctx context.Context) error {
			_, err := e.Put(ctx, blob, offer, put, nil)
			return err
		})
	}
}

func plainGet(ctx context.Context, url string, blob sdk.Blob) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	hash := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{hash}, response.Body, make([]byte, 256<<10)); err != nil {
		return err
	}
	if "sha256:"+hex.EncodeToString(hash.Sum(nil)) != string(blob.Digest) {
		return transfer.ErrMismatch
	}
	return nil
}

func plainPut(ctx context.Context, url, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, url, io.TeeReader(f, sha256.New()))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
