package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// runner runs the cases.
type runner struct {
	dir      string
	registry string
	builders []namedBuilder
	log      io.Writer
	progress io.Writer
}

// run times every case with every builder in every round. The builders take turns, and another begins each round,
// so that a machine that slows down slows all alike.
func (r runner) run(ctx context.Context, o options) (figures, error) {
	f := newFigures(o)
	for round := range o.rounds {
		for _, c := range benchCases() {
			if !slices.Contains(o.cases, c.name) {
				continue
			}
			for i := range r.builders {
				b := r.builders[(i+round)%len(r.builders)]
				s, err := r.time(ctx, c, b, round)
				if err != nil {
					return f, fmt.Errorf("round %d of %q with %s: %w", round+1, c.name, b.name, err)
				}
				fmt.Fprintf(r.progress, "round %d  %-15s %-9s %8.2fs\n", round+1, c.name, b.name, s.Seconds)
				f.add(c.name, b.name, s)
			}
		}
	}
	return f, nil
}

// time runs one build. Each pushes to a repository of its own, as a new image would be, except that a rebuild
// pushes where its first build did.
func (r runner) time(ctx context.Context, c benchCase, b namedBuilder, round int) (sample, error) {
	if err := b.prune(ctx); err != nil {
		return sample{}, err
	}
	reference := fmt.Sprintf("%s/bench/%s-%s-%d:latest", r.registry, c.name, b.name, round+1)
	if k, ok := b.builder.(keeper); ok && c.prepare != "" {
		k.keep()
	}
	if c.prepare != "" {
		prepared := reference
		if c.prepare != c.context {
			prepared = fmt.Sprintf("%s/bench/%s-%s-%d:latest", r.registry, c.prepare, b.name, round+1)
		}
		if _, err := b.build(ctx, filepath.Join(r.dir, c.prepare), prepared, r.log); err != nil {
			return sample{}, fmt.Errorf("prepare: %w", err)
		}
	}
	unix.Sync() // what the one before left to be written is not this one's work
	start := time.Now()
	used, err := b.build(ctx, filepath.Join(r.dir, c.context), reference, r.log)
	if err != nil {
		return sample{}, err
	}
	return sample{Seconds: time.Since(start).Seconds(), usage: used}, nil
}
