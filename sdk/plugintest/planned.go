package plugintest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// Mover performs transfers. A [Host] is one; so is the host's own engine behind two methods.
type Mover interface {
	// Upload sends all parts and returns what was answered.
	Upload(ctx context.Context, transfer sdk.Transfer, content []byte) (sdk.TransferResult, error)
	// Download returns the blob. The caller closes it.
	Download(ctx context.Context, transfer sdk.Transfer) (io.ReadCloser, error)
}

// Planner is a cache that plans its uploads.
type Planner interface {
	sdk.CacheReader
	sdk.UploadPlanner
}

// PlannedCache checks that what open makes is a cache that plans its transfers, as [sdk.UploadPlanner] describes it. open is
// called once a check and answers with an empty cache and with who performs its transfers. The services of a [Host] that is
// the Mover are in the context of each call.
//
// What such a cache cannot see, the bytes, is not its business: the host computes their digest, coming and going.
func PlannedCache(t *testing.T, open func(t *testing.T) (Planner, Mover)) {
	t.Helper()
	checks := slices.Concat(recordChecks(), blobChecks(), []check[sdk.Cache]{
		{"blobs/a bad digest is refused", refuseBadDigest},
		{"transfers/a put is visible when it is finished, not before", plannedUnfinished},
		{"transfers/a put that was begun can be begun again", plannedAgain},
		{"transfers/transfers are not out of date", plannedExpires},
		{"transfers/gets of a blob are planned alike", plannedEqual},
	})
	runChecks(t, func(t *testing.T) sdk.Cache {
		cache, mover := open(t)
		return &planned{cache: cache, mover: mover}
	}, checks)
}

// planned is a [Planner] with its transfers performed, as the host sees it.
type planned struct {
	cache Planner
	mover Mover
}

func (p *planned) context(ctx context.Context) context.Context {
	if h, ok := p.mover.(*Host); ok {
		return h.Context(ctx)
	}
	return ctx
}

func (p *planned) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	return p.cache.GetRecords(p.context(ctx), keys)
}

func (p *planned) PutRecords(ctx context.Context, records []sdk.Record) error {
	return p.cache.PutRecords(p.context(ctx), records)
}

func (p *planned) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	return p.cache.StatBlobs(p.context(ctx), digests)
}

func (p *planned) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	content, err := p.cache.GetBlob(p.context(ctx), digest)
	if err != nil || content.Transfer == nil {
		return content, err
	}
	transfer := *content.Transfer
	return sdk.Content{Open: func(ctx context.Context) (io.ReadCloser, error) { return p.mover.Download(ctx, transfer) }}, nil
}

func (p *planned) PutBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	got, err := readAll(ctx, content)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(got); string(blob.Digest) != "sha256:"+hex.EncodeToString(sum[:]) || blob.Size != int64(len(got)) {
		if _, err := p.cache.PlanPut(p.context(ctx), blob); err != nil {
			return err
		}
		return errors.New("the cache planned the upload of a blob that cannot be")
	}
	transfer, err := p.cache.PlanPut(p.context(ctx), blob)
	if err != nil || len(transfer.Parts) == 0 {
		return err
	}
	result, err := p.mover.Upload(ctx, transfer, got)
	if err != nil {
		return fmt.Errorf("upload %s: %w", blob.Digest, err)
	}
	return p.cache.FinishPut(p.context(ctx), blob, result)
}

// begin plans an upload that has parts.
func (p *planned) begin(t *testing.T, blob sdk.Blob) sdk.Transfer {
	t.Helper()
	transfer, err := p.cache.PlanPut(p.context(t.Context()), blob)
	if err != nil {
		t.Fatalf("PlanPut: %v", err)
	}
	if len(transfer.Parts) == 0 {
		t.Fatal("PlanPut of a blob that the cache does not hold has no parts")
	}
	return transfer
}

func plannedUnfinished(t *testing.T, c sdk.Cache) {
	p := c.(*planned)
	content := noise("unfinished", 300_000)
	p.begin(t, blobOf(content))
	mustLack(t, c, blobOf(content).Digest)
	putBlob(t, c, content, inMemory(content))
	mustHold(t, c, content)
}

func plannedAgain(t *testing.T, c sdk.Cache) {
	p := c.(*planned)
	content := noise("again", 300_000)
	first := p.begin(t, blobOf(content))
	second := p.begin(t, blobOf(content))
	for _, transfer := range []sdk.Transfer{second, first} {
		result, err := p.mover.Upload(t.Context(), transfer, content)
		if err != nil {
			t.Fatalf("upload: %v", err)
		}
		if err := p.cache.FinishPut(p.context(t.Context()), blobOf(content), result); err != nil {
			t.Fatalf("FinishPut: %v", err)
		}
		mustHold(t, c, content)
	}
}

func plannedExpires(t *testing.T, c sdk.Cache) {
	p := c.(*planned)
	content := noise("expires", 1000)
	transfers := map[string]sdk.Transfer{"PlanPut": p.begin(t, blobOf(content))}
	putBlob(t, c, content, inMemory(content))
	if got, err := p.cache.GetBlob(p.context(t.Context()), blobOf(content).Digest); err != nil {
		t.Fatalf("GetBlob: %v", err)
	} else if got.Transfer != nil {
		transfers["GetBlob"] = *got.Transfer
	}
	for name, transfer := range transfers {
		if !transfer.Expires.IsZero() && time.Until(transfer.Expires) < 10*time.Second {
			t.Errorf("the transfer of %s expires in %s, which is too soon to perform it", name, time.Until(transfer.Expires))
		}
	}
}

// plannedEqual compares what does not depend on the time: methods and places.
func plannedEqual(t *testing.T, c sdk.Cache) {
	p := c.(*planned)
	content := noise("equal", 1000)
	putBlob(t, c, content, inMemory(content))
	var shapes [][]string
	for range 2 {
		got, err := p.cache.GetBlob(p.context(t.Context()), blobOf(content).Digest)
		if err != nil {
			t.Fatalf("GetBlob: %v", err)
		}
		if got.Transfer == nil {
			return
		}
		var shape []string
		for _, part := range got.Transfer.Parts {
			address, _, _ := bytes.Cut([]byte(part.URL), []byte("?"))
			shape = append(shape, part.Method+" "+string(address))
		}
		shapes = append(shapes, shape)
	}
	if !reflect.DeepEqual(shapes[0], shapes[1]) {
		t.Errorf("two gets of a blob are planned as %q and %q", shapes[0], shapes[1])
	}
}

var _ Mover = (*Host)(nil)
