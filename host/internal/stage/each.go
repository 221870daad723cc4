package stage

import "golang.org/x/sync/errgroup"

// each calls do for all values at once and waits.
func each[T any](values []T, do func(T) error) error {
	if len(values) == 1 {
		return do(values[0])
	}
	var g errgroup.Group
	for _, v := range values {
		g.Go(func() error { return do(v) })
	}
	return g.Wait()
}
