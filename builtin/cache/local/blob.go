package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/trowel-build/trowel/sdk"
)

const (
	blobDir      = "blobs/sha256"
	digestPrefix = "sha256:"
)

// StatBlobs returns those of the blobs that the cache holds. A digest that no blob can have is held by none.
func (c *Cache) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	shards := map[string][]string{} // one listing serves all the digests of a shard
	var blobs []sdk.Blob
	for _, d := range digests {
		if err := checkContext(ctx); err != nil {
			return nil, fmt.Errorf("stat blobs: %w", err)
		}
		sum, err := parseDigest(d)
		if err != nil {
			continue
		}
		names, ok := shards[sum[:2]]
		if !ok {
			if names, err = readNames(c.root, path.Join(blobDir, sum[:2])); ignoreNotExist(err) != nil {
				return nil, fmt.Errorf("stat blobs: %w", err)
			}
			shards[sum[:2]] = names
		}
		if info, err := c.statBlob(sum, names); err == nil {
			blobs = append(blobs, sdk.Blob{Digest: d, Size: info.Size()})
		}
	}
	return blobs, nil
}

// GetBlob returns the content of a blob. It stays readable until a process prunes the blob.
func (c *Cache) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	name, size, err := c.findBlob(ctx, digest)
	if err != nil {
		return sdk.Content{}, fmt.Errorf("get blob %q: %w", abbreviate(string(digest)), err)
	}
	file := filepath.Join(c.dir, versionDir, name)
	return sdk.Content{
		File: file,
		Open: func(ctx context.Context) (io.ReadCloser, error) {
			if err := checkContext(ctx); err != nil {
				return nil, err
			}
			f, err := openWhole(file, size)
			if err != nil {
				return nil, fmt.Errorf("open blob %q: %w", digest, err)
			}
			return f, nil
		},
	}, nil
}

// findBlob gives the name below the root of a blob that is as long as it has to be, and notes that it was used.
func (c *Cache) findBlob(ctx context.Context, digest sdk.Digest) (string, int64, error) {
	sum, err := parseDigest(digest)
	if err != nil {
		return "", 0, err
	}
	if err := checkContext(ctx); err != nil {
		return "", 0, err
	}
	names, err := readNames(c.root, path.Join(blobDir, sum[:2]))
	if ignoreNotExist(err) != nil {
		return "", 0, err
	}
	info, err := c.statBlob(sum, names)
	if err != nil {
		return "", 0, err
	}
	name := blobName(sum, info.Size())
	c.touch(name, info.ModTime())
	return name, info.Size(), nil
}

// openWhole opens a regular file of the given length.
func openWhole(file string, size int64) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("pruned meanwhile: %w", sdk.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != size) {
		err = fmt.Errorf("damaged meanwhile: %w", sdk.ErrNotFound)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// statBlob finds the blob's file among the names of its shard and checks its length.
func (c *Cache) statBlob(sum string, names []string) (os.FileInfo, error) {
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, sum+".")
		if !ok {
			continue
		}
		size, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || size < 0 {
			continue
		}
		info, err := c.root.Lstat(blobName(sum, size))
		if err == nil && info.Mode().IsRegular() && info.Size() == size {
			return info, nil
		}
	}
	return nil, sdk.ErrNotFound
}

func blobName(sum string, size int64) string {
	return path.Join(blobDir, sum[:2], sum+"."+strconv.FormatInt(size, 10))
}

// parseDigest gives the hexadecimal part of a SHA-256 digest, the only kind this cache keeps.
func parseDigest(digest sdk.Digest) (string, error) {
	sum, ok := strings.CutPrefix(string(digest), digestPrefix)
	if !ok || len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is no SHA-256 digest such as %q", abbreviate(string(digest)), digestPrefix+"2cf2…")
	}
	return sum, nil
}

// abbreviate keeps what an error quotes readable.
func abbreviate(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// readNames lists a directory of the cache in no order.
func readNames(root *os.Root, dir string) (_ []string, err error) {
	d, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return d.Readdirnames(-1)
}
