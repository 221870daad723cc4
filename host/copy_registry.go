package host

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/registry"
)

// blobsAtOnce is how many blobs are on their way at once; most of them only to find that they are there. The client bounds
// how many move bytes.
const blobsAtOnce = 16

// toRegistry copies into a registry.
type toRegistry struct{ ref registry.Reference }

// prepare asks whether we may push, before a source is read that may take long.
func (t *toRegistry) prepare(ctx context.Context, c *copying) error {
	if t.ref.Digest != "" && t.ref.Digest != c.source.Top.Digest.String() {
		return fmt.Errorf("copy to %q: the source's digest is %s", t.ref, c.source.Top.Digest)
	}
	if c.SkipPushCheck {
		return nil
	}
	return c.client.CheckPush(ctx, t.ref.Repository)
}

// write pushes blobs, then manifests from the bottom up, then the tag.
func (t *toRegistry) write(ctx context.Context, c *copying) error {
	var from []registry.Repository
	if c.source.Reference.Path != "" {
		from = append(from, c.source.Reference.Repository)
	}
	err := each(ctx, c.graph.blobs, blobsAtOnce, func(ctx context.Context, d ocispec.Descriptor) error {
		return t.blob(ctx, c, d, from)
	})
	if err != nil {
		return err
	}
	for i, level := range c.graph.levels {
		top := i == len(c.graph.levels)-1
		err := each(ctx, level, manifestsAtOnce, func(ctx context.Context, d document) error {
			ref := t.ref.Digested(d.desc.Digest.String())
			if top && t.ref.Tag != "" {
				ref = t.ref.Tagged(t.ref.Tag)
			}
			err := c.client.PutManifest(ctx, ref, d.desc.MediaType, d.text)
			if bool(c.KeepImmutable) && isImmutable(err) {
				c.report(staysAsItWas(ref, err))
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// blob makes the repository have a blob.
func (t *toRegistry) blob(ctx context.Context, c *copying, d ocispec.Descriptor, from []registry.Repository) error {
	transfer := c.transfer("push", t.ref.Repository.String(), d)
	outcome, err := c.client.Push(ctx, t.ref.Repository, sourceBlob{c.source, d}, from, transfer.moved)
	remark := ""
	if outcome != registry.Uploaded {
		remark = string(outcome)
	}
	transfer.end(ctx, remark, err)
	return err
}

// sourceBlob is a blob of the source as something to push.
type sourceBlob struct {
	source *base.Source
	desc   ocispec.Descriptor
}

// Open opens it at an offset.
func (s sourceBlob) Open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	return s.source.Blob(ctx, s.desc, offset)
}

// Descriptor is what the manifest says.
func (s sourceBlob) Descriptor(context.Context) (ocispec.Descriptor, error) { return s.desc, nil }

// Written says that there is nothing to wait for.
func (s sourceBlob) Written() (int64, registry.State) { return s.desc.Size, registry.Complete }

// transfer is a blob on its way, as progress shows it.
type transfer struct {
	c     *copying
	id    string
	total int64
	start func()
}

func (c *copying) transfer(verb, where string, d ocispec.Descriptor) *transfer {
	t := &transfer{c: c, id: verb + "/" + d.Digest.String(), total: d.Size}
	name := fmt.Sprintf("%s %s %s", verb, where, short(d.Digest.String()))
	t.start = sync.OnceFunc(func() {
		c.report(Event{Time: time.Now(), Kind: progress.KindTransferStarted, ID: t.id, Name: name})
	})
	return t
}

// moved tells how far it is.
func (t *transfer) moved(n int64) {
	t.start()
	t.c.report(Event{Time: time.Now(), Kind: progress.KindTransferred, ID: t.id, Current: n, Total: t.total})
}

// end tells how it ended. A remark says why no byte had to move.
func (t *transfer) end(ctx context.Context, remark string, err error) {
	t.start()
	e := Event{Time: time.Now(), Kind: progress.KindTransferDone, ID: t.id, Status: progress.StatusDone}
	switch {
	case err != nil && ctx.Err() != nil:
		e.Status = progress.StatusCancelled
	case err != nil:
		e.Status, e.Error = progress.StatusFailed, err.Error()
	case remark != "":
		e.Status, e.Text = progress.StatusCached, remark
	}
	t.c.report(e)
}
