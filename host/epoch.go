package host

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/trowel-build/trowel/host/internal/effect"
)

// epochArg is the build argument that dates an image.
const epochArg = "SOURCE_DATE_EPOCH"

// mainContextName is how SOURCE_DATE_EPOCH names the main context.
const mainContextName = "context"

// resolveEpoch finds the time that [Request.EpochFrom] names, and lets the Dockerfile's ARG have it.
func (b *build) resolveEpoch() error {
	if b.Epoch == nil && b.EpochFrom != "" {
		at, err := b.timeOf(b.EpochFrom)
		if err != nil {
			return err
		}
		at = at.UTC().Truncate(time.Second)
		b.Epoch, b.created = &at, at
	}
	if b.Epoch == nil {
		return nil
	}
	args := maps.Clone(b.BuildArgs)
	if args == nil {
		args = map[string]string{}
	}
	args[epochArg] = strconv.FormatInt(b.Epoch.Unix(), 10)
	b.BuildArgs = args
	return nil
}

// timeOf is the time of a context: of its commit, what a web server says, or that of the newest file in an archive.
func (b *build) timeOf(name string) (time.Time, error) {
	key := name
	if name == mainContextName {
		key = effect.MainContext
	}
	c, ok := b.sources.contexts[key]
	if !ok {
		return time.Time{}, &RequestError{&Error{
			fmt.Errorf("%s %q: it is neither a number nor a build context", epochArg, name),
			"write seconds since 1970, context, or the name of a --build-context",
		}}
	}
	if n, ok := c.(normalized); ok {
		c = n.buildContext
	}
	if dated, ok := c.(interface{ Time() (time.Time, bool) }); ok {
		if at, ok := dated.Time(); ok {
			return at, nil
		}
	}
	return time.Time{}, &RequestError{&Error{
		fmt.Errorf("%s %q: that build context has no time of its own", epochArg, name),
		"a git repository, an archive and what a web server dates have one; for a directory: " + epochArg + "=$(git log -1 --format=%ct)",
	}}
}
