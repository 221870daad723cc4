package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
)

// ErrChanged says that a file did not hold what its change said: its size or its digest was another.
var ErrChanged = errors.New("it was changed while it was read")

// Layer is a layer that is stored.
type Layer struct {
	Index
	DiffID digest.Digest
	// Size of the layer's tar, uncompressed.
	Size        int64
	Compression image.Compression
	// Blob is complete.
	Blob *blob.Blob
}

// Options say how a layer is written. The zero value of all but Compression is usable.
type Options struct {
	Compression image.Compression
	// Level of the compression: 1 to 9 for gzip, 1 to 22 for zstd. 0 is the default.
	Level int
	// Jobs is how many goroutines compress; 0 means one for each processor. It has no influence on the bytes.
	Jobs int
	// Tee gets the layer's tar, uncompressed, from a goroutine of its own; nil for nobody.
	Tee io.Writer
	// Sound is asked when all files are read, before the layer is stored: its error fails the layer. nil asks nobody.
	Sound func(ctx context.Context) error
}

// Check says what is wrong with the options, if anything.
func (o Options) Check() error {
	_, err := newCodec(o.Compression, o.Level)
	return err
}

// Pending is a layer that is being written.
type Pending struct {
	blob  *blob.Blob
	done  chan struct{}
	layer *Layer
	err   error
}

// Write writes a layer and waits until it is stored.
func Write(ctx context.Context, store *blob.Store, changes []filetree.Change, o Options) (*Layer, error) {
	p, err := Start(ctx, store, changes, o)
	if err != nil {
		return nil, err
	}
	return p.Wait()
}

// Start starts to write a layer. Its blob can be read at once. [Pending.Wait] must be called, if only to have the goroutines
// ended; to give up, cancel ctx.
//
// The changes must be sorted by [filetree.Compare] with each path there once, but for an [filetree.Opaque] right after its
// directory; a [filetree.Hardlink] must name a file that is among the changes before it. They must not be changed before
// Wait returned.
func Start(ctx context.Context, store *blob.Store, changes []filetree.Change, o Options) (*Pending, error) {
	if err := checkChanges(changes); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return start(ctx, store, o, func(ctx context.Context, group *errgroup.Group, press *compressor) func() Index {
		t := newTarrer(ctx, changes)
		t.start(group)
		group.Go(func() error { return t.assemble(press) })
		return func() Index { return Index{Entries: t.entries, Inline: t.inline} }
	})
}

// Recompress starts to write the tar of a layer that is there, compressed in whatever way, with other compression. Not a byte of
// the tar changes, and what it holds is not looked at: the layer has no [Index]. Wait must be called as for [Start].
func Recompress(ctx context.Context, store *blob.Store, open func(context.Context) (io.ReadCloser, error), o Options) (*Pending, error) {
	return start(ctx, store, o, func(ctx context.Context, group *errgroup.Group, press *compressor) func() Index {
		group.Go(func() error { return recompress(ctx, open, press) })
		return func() Index { return Index{} }
	})
}

func recompress(ctx context.Context, open func(context.Context) (io.ReadCloser, error), to io.WriteCloser) (err error) {
	in, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	d, err := newDecompressor(in)
	if err != nil {
		return err
	}
	defer d.close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{d}, make([]byte, rawBlock)); err != nil {
		return err
	}
	return to.Close()
}

// feed gives a compressor the tar, from goroutines of the group, and returns what tells of it when the group has ended.
type feed func(ctx context.Context, group *errgroup.Group, press *compressor) func() Index

func start(ctx context.Context, store *blob.Store, o Options, tar feed) (*Pending, error) {
	c, err := newCodec(o.Compression, o.Level)
	if err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	if o.Jobs <= 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	o.Jobs = min(o.Jobs, maxJobs)
	out, err := store.Create(ctx)
	if err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	p := &Pending{blob: out.Blob(), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		if p.layer, p.err = write(ctx, out, c, o, tar); p.err != nil {
			p.err = fmt.Errorf("write layer: %w", errors.Join(p.err, out.Abort(p.err)))
		}
	}()
	return p, nil
}

// Blob is the layer's blob, growing until Wait returns.
func (p *Pending) Blob() *blob.Blob { return p.blob }

// Wait waits until the layer is stored.
func (p *Pending) Wait() (*Layer, error) {
	<-p.done
	return p.layer, p.err
}

// write runs the pipeline: tar → compress → store.
func write(ctx context.Context, out *blob.Writer, c codec, o Options, tar feed) (*Layer, error) {
	// The diff ID of a layer that is not compressed is its blob's digest, which the store computes.
	var diff hash.Hash
	var observers []io.Writer
	if c.newEncoder != nil {
		diff = sha256.New()
		observers = append(observers, diff)
	}
	if o.Tee != nil {
		observers = append(observers, o.Tee)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	press := startCompressor(groupCtx, group, c, o.Jobs, out, observers...)
	index := tar(groupCtx, group, press)
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if o.Sound != nil {
		if err := o.Sound(ctx); err != nil {
			return nil, err
		}
	}
	stored, err := out.Commit(ctx)
	if err != nil {
		return nil, err
	}
	l := &Layer{
		Index: index(), Size: press.written,
		Compression: o.Compression, Blob: stored,
	}
	if diff != nil {
		l.DiffID = digest.NewDigest(digest.SHA256, diff)
		return l, nil
	}
	l.DiffID, _, err = stored.Wait(ctx)
	return l, err
}

// checkChanges verifies the order that makes a layer's bytes a function of its content.
func checkChanges(changes []filetree.Change) error {
	var linkable map[string]bool // made when there are hardlinks
	for i := range changes {
		c := &changes[i]
		if err := writable(&c.Entry); err != nil {
			return err
		}
		if i > 0 && !ordered(&changes[i-1].Entry, &c.Entry) {
			return fmt.Errorf("%q after %q: the changes are not sorted", c.Path, changes[i-1].Path)
		}
		if c.Type == filetree.Regular && c.Source == nil && c.Size != 0 {
			return fmt.Errorf("%q: it has %d bytes and no source", c.Path, c.Size)
		}
		if c.Type != filetree.Hardlink {
			continue
		}
		if linkable == nil {
			linkable = linkableFiles(changes)
		}
		if !linkable[c.Link] || filetree.Compare(c.Link, c.Path) >= 0 {
			return fmt.Errorf("hardlink %q to %q: the layer holds no such file before it", c.Path, c.Link)
		}
	}
	return nil
}

func ordered(before, e *filetree.Entry) bool {
	if before.Path == e.Path {
		return before.Type == filetree.Directory && e.Type == filetree.Opaque
	}
	return filetree.Compare(before.Path, e.Path) < 0
}

// linkableFiles are the paths that a hardlink can name.
func linkableFiles(changes []filetree.Change) map[string]bool {
	files := map[string]bool{}
	for i := range changes {
		switch changes[i].Type {
		case filetree.Directory, filetree.Whiteout, filetree.Opaque:
		default:
			files[changes[i].Path] = true
		}
	}
	return files
}
