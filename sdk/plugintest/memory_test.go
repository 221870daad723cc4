package plugintest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/trowel-build/trowel/sdk"
)

// memory is a cache in memory that can be made to break its contract in one way.
type memory struct {
	fault string

	mu sync.Mutex

	records map[sdk.Key][]byte
	blobs   map[sdk.Digest][]byte
}

func newMemory(fault string) *memory {
	return &memory{fault: fault, records: map[sdk.Key][]byte{}, blobs: map[sdk.Digest][]byte{}}
}

func (m *memory) has(fault string) bool { return m.fault == fault }

func (m *memory) GetRecords(_ context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.has("a batch has at most 100") && len(keys) > 100 {
		keys = keys[:100]
	}
	var out []sdk.Record
	for _, k := range keys {
		v, ok := m.records[k]
		if !ok && !m.has("a missing record is answered") {
			continue
		}
		if !m.has("values are shared") {
			v = bytes.Clone(v)
		}
		out = append(out, sdk.Record{Key: k, Value: v})
	}
	return out, nil
}

func (m *memory) PutRecords(ctx context.Context, records []sdk.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		bad := r.Key == "" || len(r.Key) > 200 || strings.Trim(string(r.Key), "abcdefghijklmnopqrstuvwxyz0123456789-/:") != ""
		if bad && !m.has("any key will do") {
			return fmt.Errorf("bad key %q", r.Key)
		}
		if len(r.Value) > 1<<20 && !m.has("any size will do") {
			return errors.New("too large")
		}
		if err := ctx.Err(); err != nil {
			if m.has("a cancelled put stores half") {
				m.records[r.Key] = r.Value[:len(r.Value)/2]
			}
			return err
		}
		key := r.Key
		if m.has("keys are cleaned") {
			key = sdk.Key(strings.ReplaceAll(string(key), "//", "/"))
		}
		if _, held := m.records[key]; held && m.has("the first record stays") {
			continue
		}
		m.records[key] = r.Value
		if !m.has("values are shared") {
			m.records[key] = bytes.Clone(r.Value)
		}
	}
	return nil
}

func (m *memory) StatBlobs(_ context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []sdk.Blob
	for _, d := range digests {
		if b, ok := m.blobs[d]; ok {
			out = append(out, sdk.Blob{Digest: d, Size: int64(len(b))})
		}
	}
	return out, nil
}

func (m *memory) GetBlob(_ context.Context, digest sdk.Digest) (sdk.Content, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.blobs[digest]
	if !ok && m.has("not found is another error") {
		return sdk.Content{}, errors.New("no such blob")
	}
	if !ok {
		return sdk.Content{}, sdk.ErrNotFound
	}
	shared := bytes.NewReader(b)
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) {
		if m.has("content is read once") {
			return io.NopCloser(shared), nil
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	}}, nil
}

func (m *memory) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	sum, ok := strings.CutPrefix(string(blob.Digest), "sha256:")
	if (!ok || len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" || blob.Size < 0) && !m.has("any digest will do") {
		return fmt.Errorf("bad blob %v", blob)
	}
	got, err := m.read(ctx, content)
	sumOf := sha256.Sum256(got)
	switch {
	case err != nil:
	case int64(len(got)) != blob.Size && !m.has("lengths do not matter"):
		err = errors.New("another length")
	case hex.EncodeToString(sumOf[:]) != sum && !m.has("lengths do not matter") && !m.has("digests do not matter") && !m.has("any digest will do"):
		err = errors.New("another digest")
	}
	if err != nil && !m.has("a failed put is kept") {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, held := m.blobs[blob.Digest]; held && m.has("a second put fails") {
		return errors.New("is there")
	}
	m.blobs[blob.Digest] = got
	return err
}

func (m *memory) read(ctx context.Context, content sdk.Content) ([]byte, error) {
	if content.File != "" && m.has("files are moved") {
		defer os.Remove(content.File)
	}
	r, err := content.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var got bytes.Buffer
	for {
		if err := ctx.Err(); err != nil {
			if m.has("a cancelled put says it is done") {
				return got.Bytes(), nil
			}
			return got.Bytes(), err
		}
		if _, err := io.CopyN(&got, r, 64<<10); errors.Is(err, io.EOF) {
			return got.Bytes(), nil
		} else if err != nil {
			return got.Bytes(), err
		}
	}
}

// provider answers for registry.example.com, and can be made to break its contract in one way.
type provider struct{ fault string }

func (p provider) has(fault string) bool { return p.fault == fault }

func (p provider) Credential(ctx context.Context, r sdk.CredentialRequest) (sdk.Credential, error) {
	c := sdk.Credential{Kind: sdk.KindBasic, Username: "user", Secret: "pass", Scope: sdk.ScopeRegistry}
	if ctx.Err() != nil {
		if p.has("cancelled is not mine") {
			return sdk.Credential{}, sdk.ErrNotMine
		}
		if p.has("cancelled is nothing") {
			select {}
		}
		return sdk.Credential{}, ctx.Err()
	}
	known := r.Registry == "registry.example.com" || (p.has("looks like it") && strings.Contains(r.Registry, "registry.example.com"))
	switch {
	case !known && p.has("unknown is an error"):
		return sdk.Credential{}, errors.New("never heard of it")
	case !known && p.has("unknown has a credential"):
		return c, sdk.ErrNotMine
	case !known:
		return sdk.Credential{}, sdk.ErrNotMine
	case p.has("untrimmed"):
		c.Secret += "\n"
	case p.has("no kind"):
		c.Kind = ""
	case p.has("no secret"):
		c.Secret = ""
	case p.has("expired"):
		c.ExpiresAt = c.ExpiresAt.AddDate(2000, 0, 0)
	case p.has("one reason"):
		if r.Reason != sdk.ReasonInitial {
			return sdk.Credential{}, errors.New("asked before")
		}
	case p.has("needs a repository"):
		if r.Repository == "" {
			return sdk.Credential{}, errors.New("no repository")
		}
	}
	return c, nil
}
