package rootfs_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/rootfs/rootfstest"
)

// item is an entry with its content.
type item struct {
	filetree.Entry
	content string
}

// stamp is a modification time with a fraction of a second.
const stamp = 1_700_000_000_123_456_789

var stampTime = time.Unix(0, stamp)

func dir(p string, mode uint16) item {
	return item{Entry: filetree.Entry{Path: p, Type: filetree.Directory, Mode: mode, ModTime: stamp}}
}

func file(p, content string) item {
	return item{Entry: filetree.Entry{Path: p, Type: filetree.Regular, Mode: 0o644, ModTime: stamp, Size: int64(len(content)), Digest: sha256.Sum256([]byte(content))}, content: content}
}

func symlink(p, target string) item {
	return item{Entry: filetree.Entry{Path: p, Type: filetree.Symlink, Mode: 0o777, ModTime: stamp, Link: target}}
}

func hardlink(p, target string) item {
	return item{Entry: filetree.Entry{Path: p, Type: filetree.Hardlink, Mode: 0o644, ModTime: stamp, Link: target}}
}

func gone(p string) item { return item{Entry: filetree.Entry{Path: p, Type: filetree.Whiteout}} }

func opaque(p string) item { return item{Entry: filetree.Entry{Path: p, Type: filetree.Opaque}} }

func (i item) owned(uid, gid uint32) item {
	i.UID, i.GID = uid, gid
	return i
}

func (i item) mode(mode uint16) item {
	i.Mode = mode
	return i
}

// layer gives the entries of a layer offsets, as in an archive.
func layer(items []item) []item {
	out := make([]item, len(items))
	for i, x := range items {
		x.Offset = int64(512 * (i + 1))
		out[i] = x
	}
	return out
}

func entries(items []item) []filetree.Entry {
	out := make([]filetree.Entry, len(items))
	for i, x := range items {
		out[i] = x.Entry
	}
	return out
}

// memory is a source of files whose content is the layer's, found by offset.
type memory struct{ content map[int64]string }

func (m *memory) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	content, ok := m.content[ref.Offset]
	if !ok {
		return nil, fmt.Errorf("nothing at offset %d", ref.Offset)
	}
	return io.NopCloser(strings.NewReader(content)), nil
}

func source(items []item) *memory {
	m := &memory{content: map[int64]string{}}
	for _, x := range items {
		m.content[x.Offset] = x.content
	}
	return m
}

// trees are the merged views after each layer, Empty first.
func trees(layers [][]item) ([]*filetree.Tree, error) {
	all := []*filetree.Tree{filetree.Empty()}
	for _, items := range layers {
		next, err := all[len(all)-1].Apply(entries(items), source(items))
		if err != nil {
			return nil, err
		}
		all = append(all, next)
	}
	return all, nil
}

// unpack unpacks each layer into a directory of its own and returns these, the topmost first.
func unpack(t *testing.T, layers [][]item, all []*filetree.Tree) ([]string, error) {
	t.Helper()
	dirs := make([]string, len(layers))
	for i, items := range layers {
		d := t.TempDir()
		dirs[len(layers)-1-i] = d
		if err := unpackOne(d, rootfstest.Options(t), items, all[i], all[i+1]); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

func unpackOne(d string, opts rootfs.Options, items []item, below, merged *filetree.Tree) (err error) {
	u, err := rootfs.NewUnpacker(d, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.Close()) }()
	for _, x := range items {
		if err := u.Entry(x.Entry, strings.NewReader(x.content)); err != nil {
			return err
		}
	}
	losses, err := u.Finish(below, merged)
	if err != nil {
		return err
	}
	for _, l := range losses {
		if l.What != "device node" {
			return fmt.Errorf("lost %s of %q: %w", l.What, l.Path, l.Err)
		}
	}
	return nil
}

func unpackMerged(t *testing.T, layers [][]item) (string, error) {
	t.Helper()
	d := t.TempDir()
	return d, unpackMergedInto(t, d, layers)
}

func unpackMergedInto(t *testing.T, d string, layers [][]item) error {
	t.Helper()
	var in []rootfs.Layer
	for _, items := range layers {
		in = append(in, rootfs.Layer{Entries: entries(items), Read: func(_ context.Context, visit func(filetree.Entry, io.Reader) error) error {
			for _, x := range items {
				if err := visit(x.Entry, strings.NewReader(x.content)); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	_, err := rootfs.UnpackMerged(t.Context(), d, in, rootfstest.Options(t))
	return err
}
