package main

import (
	"context"
	"fmt"
	"time"

	"github.com/trowel-build/trowel/builtin/cache/export"
	"github.com/trowel-build/trowel/host"
)

// watch takes note of what is found in the caches of a request, if there are some to give it to.
func (o *opened) watch(r *host.Request) {
	if len(o.exports) == 0 {
		return
	}
	for i, c := range r.Caches {
		source := export.Watch(c.Backend)
		r.Caches[i].Backend = source
		o.sources = append(o.sources, source)
	}
}

// export gives the caches of --cache-to what a build found in others, as BuildKit does: they have all that the next build
// needs. As with every cache, a failure does not fail the build.
func (o *opened) export(ctx context.Context) {
	if len(o.exports) == 0 {
		return
	}
	if err := export.To(ctx, o.exports, o.sources); err != nil && ctx.Err() == nil {
		o.show.Report(host.Event{Time: time.Now(), Kind: "message", Level: "warning", Text: fmt.Sprintf("--cache-to: give it what was found in other caches: %v", err)})
	}
}

func (o *opened) inform(format string, args ...any) {
	o.show.Report(host.Event{Time: time.Now(), Kind: "message", Level: "info", Text: fmt.Sprintf(format, args...)})
}
