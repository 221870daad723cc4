package stage

import "context"

// Warm fetches the layers of all images and finds out what is in them, so that the caches have both. [Engine.Wait] must be
// called in any case.
func (e *Engine) Warm(ctx context.Context) error {
	e.begin(ctx)
	var all []*Layer
	for _, img := range e.Images {
		all = append(all, e.layersOf(img)...)
	}
	err := each(all, func(l *Layer) error {
		if _, err := l.content(); err != nil {
			return err
		}
		_, err := l.Index(e.ctx)
		return err
	})
	if err == nil {
		err = e.Arrived(e.ctx)
	}
	if err != nil {
		e.failed = true
	}
	return err
}
