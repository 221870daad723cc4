// Program author is a plugin as authors write them.
package main

import (
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/process"
)

func main() {
	process.Main(sdk.Plugin{
		Name: "author", Version: "1.2.3",
		Cache: func(_ context.Context, config *sdk.Config) (sdk.CacheReader, error) {
			m := &memory{greeting: config.Required("greeting"), blobs: map[sdk.Digest][]byte{}, records: map[sdk.Key]sdk.Record{}}
			return m, config.Err()
		},
	})
}

type memory struct {
	greeting string

	mu      sync.Mutex
	blobs   map[sdk.Digest][]byte
	records map[sdk.Key]sdk.Record
}

func (m *memory) GetRecords(ctx context.Context, keys []sdk.Key) (found []sdk.Record, err error) {
	value, err := sdk.Env(ctx, "GRANTED")
	if err != nil {
		return nil, err
	}
	sdk.Log(ctx, sdk.LevelInfo, m.greeting+", "+value)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		if r, ok := m.records[k]; ok {
			found = append(found, r)
		}
	}
	return found, nil
}

func (m *memory) PutRecords(_ context.Context, records []sdk.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		m.records[r.Key] = r
	}
	return nil
}

func (m *memory) StatBlobs(_ context.Context, digests []sdk.Digest) (found []sdk.Blob, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range digests {
		if b, ok := m.blobs[d]; ok {
			found = append(found, sdk.Blob{Digest: d, Size: int64(len(b))})
		}
	}
	return found, nil
}

func (m *memory) GetBlob(_ context.Context, digest sdk.Digest) (sdk.Content, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.blobs[digest]
	if !ok {
		return sdk.Content{}, sdk.ErrNotFound
	}
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}, nil
}

func (m *memory) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	from, err := content.Open(ctx)
	if err != nil {
		return err
	}
	defer from.Close()
	b, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[blob.Digest] = b
	return nil
}
