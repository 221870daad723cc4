package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// pusher sends the blobs of an image to the repositories of its tags while the image is made: each layer as soon as it
// starts to be written, to all repositories at once. A failure stops the build.
type pusher struct {
	build        *build
	repositories []registry.Repository
	group        errgroup.Group
	ctx          context.Context //nolint:containedctx // of the group, which lives as long
	cancel       context.CancelCauseFunc

	blobs atomic.Int64 // pushed, to name them in events

	mu      sync.Mutex
	started map[*stage.Layer]bool
}

// startPush asks the registries whether the image may be pushed, and returns the pusher with the context under which the
// stages are to be built: it ends when a push fails, and not when all pushes are done, for caches are still filled then.
func (b *build) startPush(ctx context.Context) (*pusher, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &pusher{build: b, ctx: ctx, cancel: cancel, started: map[*stage.Layer]bool{}}
	for _, ref := range b.targets.push {
		if !slices.Contains(p.repositories, ref.Repository) {
			p.repositories = append(p.repositories, ref.Repository)
		}
	}
	if b.SkipPushCheck {
		return p, ctx
	}
	for _, repository := range p.repositories {
		p.start(func() error { return b.client.CheckPush(ctx, repository) })
	}
	return p, ctx
}

// start does something beside the build, which ends if that fails.
func (p *pusher) start(do func() error) {
	p.group.Go(func() error {
		err := do()
		if err != nil {
			p.cancel(err)
		}
		return err
	})
}

// wait waits for all that was started, and gives the first error: what ended because of it says no more than that.
func (p *pusher) wait() error {
	err := p.group.Wait()
	if err == nil {
		return nil
	}
	if cause := context.Cause(p.ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// Layer starts to push a layer. It does not wait.
func (p *pusher) Layer(l *stage.Layer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started[l] {
		return
	}
	p.started[l] = true
	for _, repository := range p.repositories {
		p.start(func() error {
			var from []registry.Repository
			if mount := l.MountFrom(); mount != (registry.Repository{}) {
				from = append(from, mount)
			}
			if l.Cached() {
				from = append(from, p.build.caching...)
			}
			return p.blob(repository, l.Upload(), from, l.Title())
		})
	}
}

// blob pushes one blob and shows how.
func (p *pusher) blob(to registry.Repository, b registry.Blob, from []registry.Repository, title string) error {
	r := p.build.progress()
	id := fmt.Sprintf("push/%d", p.blobs.Add(1))
	name := fmt.Sprintf("push %s %s", to, title)
	begun := false
	begin := func() {
		if !begun {
			begun = true
			r.Report(Event{Time: time.Now(), Kind: progress.KindTransferStarted, ID: id, Name: name})
		}
	}
	outcome, err := p.build.client.Push(p.ctx, to, b, from, func(sent int64) {
		begin()
		size, state := b.Written()
		total := int64(0)
		if state == registry.Complete {
			total = size
		}
		r.Report(Event{Time: time.Now(), Kind: progress.KindTransferred, ID: id, Current: sent, Total: total})
	})
	begin()
	done := Event{Time: time.Now(), Kind: progress.KindTransferDone, ID: id, Status: progress.StatusDone}
	switch {
	case err != nil && p.ctx.Err() != nil:
		done.Status = progress.StatusCancelled
	case err != nil:
		done.Status, done.Error = progress.StatusFailed, err.Error()
	case outcome != registry.Uploaded:
		done.Status, done.Text = progress.StatusCached, string(outcome)
	}
	r.Report(done)
	return err
}

// finish waits until all layers are pushed and what the outputs fetched has arrived, and pushes configs, manifests and tags.
func (p *pusher) finish(m *made, arrived func(context.Context) error) error {
	if len(p.repositories) == 0 {
		return p.wait()
	}
	for _, repository := range p.repositories {
		pushed := map[digest.Digest]bool{}
		for _, img := range m.images {
			if d := img.Config.Descriptor.Digest; !pushed[d] {
				pushed[d] = true
				p.start(func() error { return p.blob(repository, memoryBlob{img.Config}, nil, "config "+short(d.String())) })
			}
		}
	}
	if err := p.wait(); err != nil {
		return err
	}
	if err := arrived(p.ctx); err != nil {
		return err
	}
	byRepository := map[registry.Repository][]registry.Reference{}
	for _, ref := range p.build.targets.push {
		byRepository[ref.Repository] = append(byRepository[ref.Repository], ref)
	}
	g, ctx := errgroup.WithContext(p.ctx)
	for repository, refs := range byRepository {
		g.Go(func() error { return p.name(ctx, repository, refs, m) })
	}
	return g.Wait()
}

// name pushes the manifests to a repository: those under the index by their digests first, and then what its references
// are to name. The tags of one repository go one after the other: the first request brings the manifest, the others find it.
func (p *pusher) name(ctx context.Context, repository registry.Repository, refs []registry.Reference, m *made) error {
	put := func(ref registry.Reference, d image.Document) error {
		return p.build.client.PutManifest(ctx, ref, d.Descriptor.MediaType, d.Bytes)
	}
	if m.index != nil {
		for _, img := range m.images {
			if err := put(repository.Digested(img.Manifest.Descriptor.Digest.String()), img.Manifest); err != nil {
				return err
			}
		}
	}
	top := m.top()
	for _, ref := range refs {
		if ref.Tag == "" {
			ref.Digest = top.Descriptor.Digest.String()
		}
		if err := put(ref, top); err != nil && !p.keeps(ref, err) {
			return err
		}
	}
	return nil
}

// isImmutable says whether a tag could not be moved because its registry never lets it be. There is no code for it, but the
// registries that have such tags (Google's, Amazon's, Docker's, GitLab, Harbor) all say "immutable" or "immutability".
func isImmutable(err error) bool {
	refusal, ok := errors.AsType[*registry.Error](err)
	return ok && refusal.Status/100 == 4 && strings.Contains(strings.ToLower(refusal.Message), "immutab")
}

func staysAsItWas(ref registry.Reference, err error) Event {
	return warning(fmt.Sprintf("%s stays what it was: %v", ref, err))
}

// keeps says whether a tag stays where it is, as the request permits.
func (p *pusher) keeps(ref registry.Reference, err error) bool {
	if !bool(p.build.KeepImmutable) || !isImmutable(err) {
		return false
	}
	p.build.progress().Report(staysAsItWas(ref, err))
	return true
}

// stop ends all pushes.
func (p *pusher) stop() error {
	p.cancel(nil)
	if err := p.wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// cause is why a build failed: a push that failed ended the build's context, and is the reason to tell.
func (p *pusher) cause(err error) error {
	if failed := p.stop(); failed != nil && (errors.Is(err, context.Canceled) || errors.Is(err, failed)) {
		return failed
	}
	return err
}

// short is the start of a digest, for people.
func short(digest string) string {
	if len(digest) > 19 {
		return digest[:19]
	}
	return digest
}
