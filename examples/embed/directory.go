package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"sync/atomic"

	"github.com/trowel-build/trowel/sdk"
)

// directory is a cache of files: a record or a blob is a file that has its name.
type directory struct {
	root *os.Root // nothing leads out of it
	last atomic.Int64
}

var _ sdk.Cache = (*directory)(nil)

func openDirectory(name string) (*directory, error) {
	if err := os.MkdirAll(name, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(name)
	return &directory{root: root}, err
}

// GetRecords leaves out what is not there.
func (d *directory) GetRecords(_ context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	var found []sdk.Record
	for _, key := range keys {
		value, err := d.root.ReadFile(record(key))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, sdk.Record{Key: key, Value: value})
	}
	return found, nil
}

// PutRecords stores each record whole or not at all.
func (d *directory) PutRecords(_ context.Context, records []sdk.Record) error {
	for _, r := range records {
		if err := d.put(record(r.Key), func(w io.Writer) error { _, err := w.Write(r.Value); return err }); err != nil {
			return err
		}
	}
	return nil
}

// StatBlobs leaves out what is not there.
func (d *directory) StatBlobs(_ context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	var found []sdk.Blob
	for _, digest := range digests {
		info, err := d.root.Stat(blob(digest))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, sdk.Blob{Digest: digest, Size: info.Size()})
	}
	return found, nil
}

// GetBlob offers the bytes; Trowel checks that they are the digest's.
func (d *directory) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	held, err := d.StatBlobs(ctx, []sdk.Digest{digest})
	if err != nil {
		return sdk.Content{}, err
	}
	if len(held) == 0 {
		return sdk.Content{}, fmt.Errorf("blob %s: %w", digest, sdk.ErrNotFound)
	}
	return sdk.Content{Open: func(context.Context) (io.ReadCloser, error) { return d.root.Open(blob(digest)) }}, nil
}

// PutBlob stores a blob whole or not at all.
func (d *directory) PutBlob(ctx context.Context, b sdk.Blob, content sdk.Content) error {
	return d.put(blob(b.Digest), func(w io.Writer) error {
		r, err := content.Open(ctx)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		return errors.Join(err, r.Close())
	})
}

// put writes a file beside its place, and moves it there when it is whole.
func (d *directory) put(name string, write func(io.Writer) error) error {
	if err := d.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	part := "part-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(d.last.Add(1), 10)
	f, err := d.root.Create(part)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, d.root.Remove(part))
	}
	return d.root.Rename(part, name)
}

func record(key sdk.Key) string     { return "records/" + string(key) }
func blob(digest sdk.Digest) string { return "blobs/" + string(digest) }
