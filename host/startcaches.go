package host

import (
	"context"
	"os"
	"slices"
	"sync"
)

// startCaches has the remote caches start that will be asked, beside all that comes before that: reading the context and the
// Dockerfile, and looking up images. They will be if no cache on this machine holds anything, as on one that is made for a single
// job. Elsewhere a build may have no need of them, and a start that nobody needs takes time from what is needed. stop ends the
// starts in progress, and returns when none is left.
func (b *build) startCaches(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var starting sync.WaitGroup
	if b.NeedsRemoteCaches() {
		for _, c := range b.Caches {
			if c.Start != nil && (len(c.Roles) == 0 || slices.Contains(c.Roles, "read")) {
				starting.Go(func() { c.Start(ctx) })
			}
		}
	}
	return func() {
		cancel()
		starting.Wait()
	}
}

// NeedsRemoteCaches says whether the caches on this machine can answer nothing, so that others are asked for certain. What those take
// to start can be done beside what comes first.
func (r *Request) NeedsRemoteCaches() bool {
	if os.Geteuid() != 0 { // it may come to be done again in a user namespace
		return false
	}
	for _, c := range r.Caches {
		if c.Place != CacheNear || c.Holds == CacheBases {
			continue
		}
		if known, ok := c.Backend.(interface{ Empty() bool }); !ok || !known.Empty() {
			return false
		}
	}
	return true
}
