package host

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// What a machine permits takes some processes to find out, which a build that finds all its RUNs in a cache has no use for.
// Whether it does is known when its base images and caches have been looked up, so that the stages ask then. Where no cache can
// have the RUNs the asking is done beside the look-ups.

// mayRun makes the build able to run processes.
func (b *build) mayRun(ctx context.Context) {
	if b.Launcher != nil {
		b.isolation = sync.OnceValues(func() (stage.Isolation, error) { return b.permit(ctx) })
	}
}

// probeBeside finds out how processes are isolated beside what comes next, if one is certain to run. stop ends the build.
func (b *build) probeBeside(stop context.CancelCauseFunc) {
	if b.isolation == nil || !b.mustRun() {
		return
	}
	b.probing.Go(func() {
		// What is looked up is of no use to who has to do all of it again in a user namespace. Other errors are told to who asks.
		if _, err := b.isolation(); errors.Is(err, ErrNeedsUserNamespace) {
			stop(err)
		}
	})
}

// mustRun says whether it is certain, before anything is looked up, that a process will run.
func (b *build) mustRun() bool {
	found := b.mayFind()
	for _, p := range b.plans {
		for _, s := range p.Stages {
			if (!found || b.noCache(s)) && slices.ContainsFunc(s.Instructions, isRun) {
				return true
			}
		}
	}
	return false
}

func isRun(in dockerfile.Instruction) bool { return in.Keyword == "RUN" }

// mayFind says whether a cache may hold anything of what the build is to make.
func (b *build) mayFind() bool {
	return slices.ContainsFunc(b.Caches, func(c Cache) bool {
		if c.Holds == CacheBases || len(c.Roles) > 0 && !slices.Contains(c.Roles, "read") {
			return false
		}
		known, ok := c.Backend.(interface{ Empty() bool })
		return !ok || !known.Empty()
	})
}

// isolateWithMemory is isolation for the stages of the image: their layers are unpacked in memory where there is room.
func (b *build) isolateWithMemory() (stage.Isolation, error) {
	i, err := b.isolation()
	if err != nil || i.Rung != "" || i.CannotRun != nil {
		return i, err
	}
	var budget int64
	if b.memory, budget = openTreeMemory(b.treeMemory()); b.memory != nil {
		i.Memory = stage.NewMemory(b.memory.trees, budget)
	}
	return i, nil
}

// treeMemory is how much memory unpacked layers may take; negative means what seems right.
func (b *build) treeMemory() int64 {
	if b.TreeMemory == nil {
		return -1
	}
	return *b.TreeMemory
}
