// Package kept remembers what builds fetched from elsewhere, such as the files that ADD names, so that the next build need
// not fetch it again. What is fetched lies in the working store; a copy stays in the caches on this machine, under its
// digest. What is known of it is a record, which other machines may read: a step that it leads to may be in a cache they
// share.
package kept

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/sdk"
)

// Copies are where copies are kept.
type Copies struct {
	Store *blob.Store
	Cache *cache.Tiers
}

// Look reads the record under a key into a value. It reports false if there is none that can be read.
func (c Copies) Look(ctx context.Context, key sdk.Key, into any) bool {
	value, ok := c.Cache.Records(ctx, []sdk.Key{key})[key]
	return ok && json.Unmarshal(value, into) == nil
}

// Note keeps a record under a key.
func (c Copies) Note(ctx context.Context, key sdk.Key, record any) error {
	value, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode record %q: %w", key, err)
	}
	c.Cache.PutRecords(ctx, []sdk.Record{{Key: key, Value: value}})
	return nil
}

// Find returns a copy, if there is one and it is whole.
func (c Copies) Find(ctx context.Context, want digest.Digest) (*File, bool) {
	if want.Validate() != nil {
		return nil, false // of a record that anybody may have written
	}
	if b, err := c.Store.Get(want); err == nil {
		return &File{b}, true
	}
	found, err := c.Cache.Blob(ctx, sdk.Digest(want))
	if err != nil {
		return nil, false
	}
	if found.File != "" {
		if b, err := c.Store.AdoptFile(ctx, found.File, want); err == nil {
			return &File{b}, true
		}
	}
	r, err := found.Open(ctx)
	if err != nil {
		return nil, false
	}
	b, err := c.Store.Adopt(ctx, r, want)
	if errors.Join(err, r.Close()) != nil {
		return nil, false
	}
	return &File{b}, true
}

// Keep stores a copy of what is in the working store.
func (c Copies) Keep(ctx context.Context, b *blob.Blob) (*File, error) {
	d, size, err := b.Wait(ctx)
	if err != nil {
		return nil, err
	}
	f := &File{b}
	c.Cache.PutBaseBlob(ctx, sdk.Blob{Digest: sdk.Digest(d), Size: size}, sdk.Content{
		Open: func(ctx context.Context) (io.ReadCloser, error) { return b.Open(ctx, 0) }, File: b.File(),
	})
	return f, nil
}

// File is a copy in the working store. As a [filetree.Source] it holds one file, which can be read from the middle.
type File struct{ blob *blob.Blob }

// Of is the file of a complete blob.
func Of(b *blob.Blob) *File { return &File{b} }

// Entry is the file as an entry of a tree: mode 0600, owned by root.
func (f *File) Entry(ctx context.Context, name string) (filetree.Entry, error) {
	d, size, err := f.blob.Wait(ctx)
	if err != nil {
		return filetree.Entry{}, err
	}
	e := filetree.Entry{Path: name, Type: filetree.Regular, Mode: 0o600, Size: size}
	_, err = hex.Decode(e.Digest[:], []byte(d.Encoded()))
	return e, err
}

// Tree is a tree with nothing but the file in it.
func (f *File) Tree(e filetree.Entry) (*filetree.Tree, error) {
	c := filetree.Change{Entry: e}
	if e.Size > 0 {
		c.Source, c.From = f, filetree.Ref{Path: e.Path, Size: e.Size, Digest: e.Digest}
	}
	return filetree.Empty().ApplyChanges([]filetree.Change{c})
}

// Open implements [filetree.Source].
func (f *File) Open(ctx context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return os.Open(f.blob.File())
}

var _ filetree.Source = (*File)(nil)
