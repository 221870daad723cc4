package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/sdk"
)

const (
	transferSize   = 256 << 20
	transferRounds = 7
)

// transfers moves a blob by a plan of the cache of the examples, and without any plugin: a request, io.Copy, SHA-256. Both use
// the same server, in turn.
func (b *bench) transfers(ctx context.Context) (err error) {
	content := make([]byte, transferSize)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content)
	sum := sha256.Sum256(content)
	m := &mover{blob: sdk.Blob{Digest: sdk.Digest("sha256:" + hex.EncodeToString(sum[:])), Size: transferSize}}
	m.file = filepath.Join(b.dir, "blob")
	if err := os.WriteFile(m.file, content, 0o644); err != nil {
		return err
	}
	server, err := serveBlob(content)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	m.url = "http://" + server.Addr
	down, err := b.openCache(ctx, m.url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, down.close(ctx)) }()
	up, err := b.openCache(ctx, m.url+"/upload")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, up.close(ctx)) }()
	m.down, m.up = down.cache(), up.cache()

	b.report.table(fmt.Sprintf("moving a blob of %d MiB, median of %d", transferSize>>20, transferRounds),
		"direction", "by a plan", "io.Copy, SHA-256", "share", "target")
	for _, d := range []struct {
		name           string
		planned, plain func(context.Context) error
	}{{"download", m.get, m.plainGet}, {"upload", m.put, m.plainPut}} {
		var planned, plain []time.Duration
		for range transferRounds {
			for _, way := range []struct {
				do    func(context.Context) error
				times *[]time.Duration
			}{{d.planned, &planned}, {d.plain, &plain}} {
				started := time.Now()
				if err := way.do(ctx); err != nil {
					return fmt.Errorf("%s: %w", d.name, err)
				}
				*way.times = append(*way.times, time.Since(started))
			}
		}
		fast, slow := percentile(planned, 50), percentile(plain, 50)
		b.report.row(d.name, inMBs(fast), inMBs(slow), fmt.Sprintf("%.0f %%", 100*float64(slow)/float64(fast)), "≥ 95 %")
	}
	return nil
}

func inMBs(took time.Duration) string {
	return fmt.Sprintf("%.0f MB/s", transferSize/1e6/took.Seconds())
}

// serveBlob answers each GET with the content, and takes what is PUT. A HEAD finds what is not being uploaded.
func serveBlob(content []byte) (*http.Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Addr: listener.Addr().String(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			_, _ = io.Copy(io.Discard, r.Body)
		case strings.HasPrefix(r.URL.Path, "/upload/"):
			http.NotFound(w, r)
		default:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		}
	}), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // ends with Close
	return server, nil
}

// mover moves the blob in each of the ways.
type mover struct {
	url  string
	file string
	blob sdk.Blob
	// up is the cache that lacks what is uploaded.
	down, up *transfer.Cache
}

func (m *mover) get(ctx context.Context) error {
	content, err := m.down.GetBlob(ctx, m.blob.Digest)
	if err != nil {
		return err
	}
	r, err := content.Open(ctx)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 256<<10))
	return errors.Join(err, r.Close())
}

func (m *mover) put(ctx context.Context) error {
	return m.up.PutBlob(ctx, m.blob, sdk.Content{
		File: m.file, Open: func(context.Context) (io.ReadCloser, error) { return os.Open(m.file) },
	})
}

func (m *mover) plainGet(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url+"/blobs/"+string(m.blob.Digest), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	hash := sha256.New()
	_, err = io.CopyBuffer(struct{ io.Writer }{hash}, response.Body, make([]byte, 256<<10))
	if err == nil && "sha256:"+hex.EncodeToString(hash.Sum(nil)) != string(m.blob.Digest) {
		err = errors.New("it has another digest")
	}
	return errors.Join(err, response.Body.Close())
}

func (m *mover) plainPut(ctx context.Context) error {
	f, err := os.Open(m.file)
	if err != nil {
		return err
	}
	defer f.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, m.url+"/upload/blobs/"+string(m.blob.Digest), io.TeeReader(f, sha256.New()))
	if err != nil {
		return err
	}
	request.ContentLength = m.blob.Size
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
