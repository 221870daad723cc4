package local

import (
	"context"
	"sync"
)

// sizeGuard keeps a cache at its MaxSize.
type sizeGuard struct {
	mu sync.Mutex

	total int64 // as counted last, and what this process put since
	next  int64 // count again above this; zero: not counted yet
}

// slack is the part of MaxSize that is freed beyond what is needed, or that a cache in which all is in use may grow by,
// before it is counted again: counting looks at every entry.
const slack = 20

// grew notes that bytes were put and prunes if that was too much. The put is done, so errors are nobody's: what cannot be
// pruned now is left for a later put, or for a prune by hand, which reports them.
func (g *sizeGuard) grew(ctx context.Context, c *Cache, bytes int64) {
	if c.maxSize == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total += onDisk(bytes)
	if g.total <= g.next {
		return
	}
	files, err := c.files(ctx)
	if err != nil {
		return
	}
	g.total = 0
	for _, f := range files {
		g.total += f.bytes
	}
	if g.total > c.maxSize {
		g.shrink(ctx, c)
	}
	g.next = max(c.maxSize, g.total+c.maxSize/slack)
}

func (g *sizeGuard) shrink(ctx context.Context, c *Cache) {
	lock, err := c.tryLock()
	if err != nil {
		return
	}
	defer lock.Close() //nolint:errcheck // only the lock matters
	freed, _ := c.remove(ctx, c.maxSize-c.maxSize/slack, func(f file) fate {
		if f.used.Before(c.opened) {
			return goesIfFull
		}
		return stays
	})
	g.total -= freed.Bytes
}
