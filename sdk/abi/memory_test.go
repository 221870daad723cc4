package abi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/trowel-build/trowel/sdk"
)

// memory is a cache in memory, or with its blobs in a directory.
type memory struct {
	dir string

	mu sync.Mutex

	records map[sdk.Key][]byte
	blobs   map[sdk.Digest][]byte
}

func newMemory() *memory {
	return &memory{records: map[sdk.Key][]byte{}, blobs: map[sdk.Digest][]byte{}}
}

func (m *memory) GetRecords(_ context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []sdk.Record
	for _, k := range keys {
		if v, ok := m.records[k]; ok {
			out = append(out, sdk.Record{Key: k, Value: v})
		}
	}
	return out, nil
}

func (m *memory) PutRecords(_ context.Context, records []sdk.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		if r.Key == "" || len(r.Key) > 200 || strings.Trim(string(r.Key), "abcdefghijklmnopqrstuvwxyz0123456789-/:") != "" {
			return &sdk.Error{Code: sdk.CodeInvalid, Message: "bad key"}
		}
		if len(r.Value) > 1<<20 {
			return &sdk.Error{Code: sdk.CodeLimit, Message: "too large"}
		}
	}
	for _, r := range records {
		m.records[r.Key] = r.Value
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
	if !ok {
		return sdk.Content{}, sdk.ErrNotFound
	}
	content := sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
	if m.dir != "" {
		content.File = filepath.Join(m.dir, strings.TrimPrefix(string(digest), "sha256:"))
	}
	return content, nil
}

func (m *memory) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	sum, ok := strings.CutPrefix(string(blob.Digest), "sha256:")
	if !ok || len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" || blob.Size < 0 {
		return &sdk.Error{Code: sdk.CodeInvalid, Message: "bad digest"}
	}
	r, err := content.Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if is := sha256.Sum256(got); hex.EncodeToString(is[:]) != sum || int64(len(got)) != blob.Size {
		return &sdk.Error{Code: sdk.CodeInvalid, Message: "another digest"}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[blob.Digest] = got
	if m.dir == "" {
		return nil
	}
	partial := filepath.Join(m.dir, "partial")
	if err := os.WriteFile(partial, got, 0o600); err != nil {
		return err
	}
	return os.Rename(partial, filepath.Join(m.dir, sum))
}

// provider knows one registry.
type provider struct{}

func newProvider(context.Context, *sdk.Config) (sdk.CredentialProvider, error) {
	return provider{}, nil
}

func (provider) Credential(ctx context.Context, r sdk.CredentialRequest) (sdk.Credential, error) {
	if err := ctx.Err(); err != nil {
		return sdk.Credential{}, err
	}
	if r.Registry != "registry.example.com" {
		return sdk.Credential{}, sdk.ErrNotMine
	}
	return sdk.Credential{Kind: sdk.KindBasic, Username: "user", Secret: "{{secret:job}}", Scope: sdk.ScopeRegistry}, nil
}

// scripted is a cache whose methods are functions, to misbehave by.
type scripted struct {
	*memory

	getRecords func([]sdk.Key) []sdk.Record
	statBlobs  func([]sdk.Digest) []sdk.Blob
	getBlob    func(ctx context.Context) (sdk.Content, error)
	planPut    func(sdk.Blob) (sdk.Transfer, error)
	putBlob    func(sdk.Content) error
	finished   *sdk.TransferResult
}

func (s *scripted) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	if s.getRecords == nil {
		return s.memory.GetRecords(ctx, keys)
	}
	return s.getRecords(keys), nil
}

func (s *scripted) StatBlobs(_ context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	return s.statBlobs(digests), nil
}

func (s *scripted) GetBlob(ctx context.Context, _ sdk.Digest) (sdk.Content, error) {
	return s.getBlob(ctx)
}

func (s *scripted) PutBlob(_ context.Context, _ sdk.Blob, content sdk.Content) error {
	return s.putBlob(content)
}

func (s *scripted) PlanPut(_ context.Context, blob sdk.Blob) (sdk.Transfer, error) {
	return s.planPut(blob)
}

func (s *scripted) FinishPut(_ context.Context, _ sdk.Blob, done sdk.TransferResult) error {
	s.finished = &done
	return nil
}

var errScripted = errors.New("as the script says")
