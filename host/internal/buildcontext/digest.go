package buildcontext

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// digestCall is a digest that somebody computes or has computed.
type digestCall struct {
	once   sync.Once
	stamp  stamp
	size   int64
	digest filetree.Digest
	err    error
}

// Digests fills in the content digests of the regular files among changes that have none, in Entry and Ref, in parallel.
// A file of this context is read once, however often and from how many goroutines it is asked for; files of other
// sources are read too, but not remembered.
func (c *Context) Digests(ctx context.Context, changes []filetree.Change) error {
	return digests(ctx, changes, c.workers, c.digest)
}

// digests fills in those that are missing.
func digests(ctx context.Context, changes []filetree.Change, workers int, of digester) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i := range changes {
		change := &changes[i]
		if change.Type != filetree.Regular || change.Digest.Known() {
			continue
		}
		if change.From.Digest.Known() || change.Source == nil {
			change.Digest = change.From.Digest
			if change.Source == nil {
				change.Digest = sha256.Sum256(nil)
			}
			continue
		}
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			d, err := of(gctx, change.Source, change.From)
			if err != nil {
				return err
			}
			change.Digest, change.From.Digest = d, d
			return nil
		})
	}
	return g.Wait()
}

// digester makes the digest of a file.
type digester func(ctx context.Context, source filetree.Source, ref filetree.Ref) (filetree.Digest, error)

func (c *Context) digest(ctx context.Context, source filetree.Source, ref filetree.Ref) (filetree.Digest, error) {
	own, ok := source.(*files)
	if !ok || own.owner != c {
		return c.buffers.hash(ctx, source, ref)
	}
	s, err := own.stamp(ref)
	if err != nil {
		return filetree.Digest{}, err
	}
	if !c.stableIDs {
		s.id = fileID{}
	}
	c.mu.Lock()
	call := c.digests[ref.Path]
	if call == nil || call.stamp != s || call.size != ref.Size {
		call = &digestCall{stamp: s, size: ref.Size}
		c.digests[ref.Path] = call
	}
	c.mu.Unlock()
	call.once.Do(func() { call.digest, call.err = c.buffers.hash(ctx, source, ref) })
	if errors.Is(call.err, context.Canceled) && ctx.Err() == nil {
		return c.buffers.hash(ctx, source, ref) // whoever computed it gave up; we did not
	}
	return call.digest, call.err
}

// buffers are what files are read with.
type buffers struct{ pool sync.Pool } // of *[]byte

// hash reads one file.
func (p *buffers) hash(ctx context.Context, source filetree.Source, ref filetree.Ref) (_ filetree.Digest, err error) {
	f, err := source.Open(ctx, ref)
	if err != nil {
		return filetree.Digest{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	buf, ok := p.pool.Get().(*[]byte)
	if !ok {
		b := make([]byte, 256<<10)
		buf = &b
	}
	defer p.pool.Put(buf)
	var n int64
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return filetree.Digest{}, err
		}
		k, err := f.Read(*buf)
		n += int64(k)
		h.Write((*buf)[:k])
		if done = errors.Is(err, io.EOF); err != nil && !done {
			return filetree.Digest{}, err
		}
	}
	if n != ref.Size {
		return filetree.Digest{}, fmt.Errorf("read %q: %d bytes instead of %d", ref.Path, n, ref.Size)
	}
	return filetree.Digest(h.Sum(nil)), nil
}
