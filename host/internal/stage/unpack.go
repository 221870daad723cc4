package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// unpacked is a layer on disk before it is known what it lies on.
type unpacked struct {
	name     string // below Engine.Dir
	unpacker *rootfs.Unpacker
	index    *layer.Index
	// entangled is set if the layer cannot be unpacked alone.
	entangled error
}

// directories makes a directory of each of the stage's layers that has none yet, and returns the names of all below
// Engine.Dir, lowest first. Where layers depend on each other's files there is one directory for all.
func (b *builder) directories(ctx context.Context) ([]string, error) {
	e, fresh := b.engine, b.layers[b.covered:]
	err := each(fresh, func(l *Layer) error {
		if l.isDir() {
			return nil
		}
		_, err := l.unpack(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, l := range fresh {
		name, err := b.directory(ctx, l, b.covered+i)
		if errors.Is(err, rootfs.ErrEntangled) {
			together, err := e.unpackTogether(ctx, b.layers)
			b.dirs, b.covered = []string{together}, len(b.layers)
			return b.dirs, err
		}
		if err != nil {
			return nil, err
		}
		b.dirs = append(b.dirs, name)
	}
	b.covered = len(b.layers)
	return b.dirs, nil
}

// directory is the directory of the layer with this index, complete.
func (b *builder) directory(ctx context.Context, l *Layer, at int) (string, error) {
	if l.isDir() {
		return l.upper, nil // and nothing waits until it is written as a layer, too
	}
	return l.dir.get(func() (string, error) {
		below, merged := filetree.Empty(), 0
		if b.tree != nil && b.merged <= at {
			below, merged = b.tree, b.merged
		}
		below, err := b.engine.merge(ctx, below, b.layers[merged:at])
		if err != nil {
			return "", err
		}
		tree, err := b.engine.merge(ctx, below, b.layers[at:at+1])
		if err != nil {
			return "", err
		}
		return b.engine.finishUnpack(l, below, tree)
	})
}

// isDir says whether the layer has its directory from the process that made it.
func (l *Layer) isDir() bool { return l.upper != "" }

// visitor hands a layer's entries to an unpacker, and goes on without it when the layer is entangled: the index is wanted
// all the same.
type visitor struct {
	u    *unpacked
	room *reservation
}

// Entry is [layer.Visitor]'s.
func (v visitor) Entry(e filetree.Entry, content io.Reader) error {
	if v.u.entangled != nil {
		return nil
	}
	if err := v.room.add(&e); err != nil {
		return err
	}
	err := v.u.unpacker.Entry(e, content)
	if errors.Is(err, rootfs.ErrEntangled) {
		v.u.entangled = err
		return nil
	}
	return err
}

// unpackAlone unpacks one layer while it is read, or while it is written, and takes its index along. It must not ask for
// [Layer.Index] of a layer that is there, which may be waiting for it.
func (e *Engine) unpackAlone(ctx context.Context, l *Layer) (*unpacked, error) {
	read := e.read
	if l.tar != nil {
		read = e.readTee
	}
	name, dir, room, err := e.placeFor(l)
	var u *unpacked
	if err == nil {
		u, err = e.unpackInto(ctx, l, dir, room, read)
	}
	if err != nil && l.tar != nil {
		// Whoever writes must not wait for a reader that gave up.
		_, _ = io.Copy(io.Discard, l.tar) // until the writer closes it, which it does in any case
	}
	if room.retry(ctx, err) {
		room.giveBack()
		inMemory := dir
		name = e.place()
		dir = filepath.Join(e.Dir, name)
		if err := errors.Join(rootfs.RemoveAll(inMemory), os.Mkdir(dir, 0o755)); err != nil {
			return nil, err
		}
		u, err = e.unpackInto(ctx, l, dir, nil, e.read)
	}
	if err != nil {
		return nil, err
	}
	u.name = name
	return u, nil
}

// reader is a way to read a layer: [Engine.read] or [Engine.readTee].
type reader func(ctx context.Context, l *Layer, visitor layer.Visitor) (*layer.Index, error)

func (e *Engine) unpackInto(ctx context.Context, l *Layer, dir string, room *reservation, read reader) (*unpacked, error) {
	u := &unpacked{}
	var err error
	if u.unpacker, err = rootfs.NewUnpacker(dir, e.trees()); err != nil {
		return nil, err
	}
	if u.index, err = read(ctx, l, visitor{u, room}); err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			err = fmt.Errorf("unpack into %q: %w", dir, err) // whose file system it is that is full
		}
		return nil, errors.Join(err, u.unpacker.Close())
	}
	return u, nil
}

// finishUnpack completes a layer's directory once it is known what the layer lies on.
func (e *Engine) finishUnpack(l *Layer, below, merged *filetree.Tree) (string, error) {
	u, err := l.raw.get(nil) // made before
	if err != nil {
		return "", err
	}
	if u.entangled != nil {
		return "", errors.Join(u.entangled, u.unpacker.Close())
	}
	losses, err := u.unpacker.Finish(below, merged)
	e.warnLosses(losses)
	return u.name, errors.Join(err, u.unpacker.Close())
}

// unpackTogether unpacks the merged view of layers that depend on each other's files.
func (e *Engine) unpackTogether(ctx context.Context, layers []*Layer) (string, error) {
	top := layers[len(layers)-1]
	return top.together.get(func() (string, error) {
		all, err := e.toUnpack(ctx, layers)
		if err != nil {
			return "", err
		}
		name := e.place()
		dir := filepath.Join(e.Dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
		losses, err := rootfs.UnpackMerged(ctx, dir, all, e.trees())
		e.warnLosses(losses)
		return name, err
	})
}

// toUnpack says how layers are read to be unpacked together.
func (e *Engine) toUnpack(ctx context.Context, layers []*Layer) ([]rootfs.Layer, error) {
	all := make([]rootfs.Layer, 0, len(layers))
	for _, l := range layers {
		x, err := l.Index(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, rootfs.Layer{
			Entries: x.Entries,
			Read: func(ctx context.Context, visit func(filetree.Entry, io.Reader) error) error {
				_, err := e.read(ctx, l, visitFunc(visit))
				return err
			},
		})
	}
	return all, nil
}

// visitFunc is a function as a [layer.Visitor].
type visitFunc func(filetree.Entry, io.Reader) error

// Entry calls the function.
func (f visitFunc) Entry(e filetree.Entry, content io.Reader) error { return f(e, content) }

func (e *Engine) warnLosses(losses []rootfs.Loss) {
	const shown = 5
	for i, l := range losses {
		if i == shown {
			e.warn(fmt.Sprintf("%d more such files", len(losses)-shown))
			return
		}
		e.warn(fmt.Sprintf("%q: its %s cannot be seen by RUN here: %v", l.Path, l.What, l.Err))
	}
}
