package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/plan"
)

// epochArg is the build argument that dates an image.
const epochArg = plan.EpochArg

// mainContextName is how SOURCE_DATE_EPOCH names the main context.
const mainContextName = "context"

// resolveEpoch finds the time that dates the images: what the request says, or else the Dockerfile's ARG before the first
// FROM. What ARG then has is that time.
func (b *build) resolveEpoch(ctx context.Context) error {
	switch {
	case b.Epoch != nil:
		b.giveEpoch(seconds(*b.Epoch))
	case b.EpochFrom != "":
		b.giveEpoch(b.EpochFrom)
	}
	for i, p := range b.platforms {
		at, err := b.epochFor(ctx, b.planOptions(p))
		if err != nil {
			return err
		}
		if i > 0 && !same(at, b.Epoch) {
			return &Error{
				errors.New(epochArg + ": the platforms of one build have different times"),
				"build them one by one, or give one time with --build-arg " + epochArg + "=…",
			}
		}
		b.Epoch = at
	}
	if b.Epoch != nil {
		b.created, b.remotes.created = *b.Epoch, *b.Epoch
	}
	return nil
}

// giveEpoch is --build-arg SOURCE_DATE_EPOCH.
func (b *build) giveEpoch(text string) {
	args := maps.Clone(b.BuildArgs)
	if args == nil {
		args = map[string]string{}
	}
	args[epochArg] = text
	b.BuildArgs = args
}

// epochFor is the time for one platform, since arguments may depend on it. It is nil if nothing says one.
func (b *build) epochFor(ctx context.Context, o plan.Options) (*time.Time, error) {
	global, err := plan.Globals(b.file, o)
	if err != nil {
		return nil, err
	}
	text, given := b.BuildArgs[epochArg]
	if !given {
		text, _ = global.Get(epochArg)
	}
	if text == "" {
		return nil, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		at := time.Unix(n, 0).UTC()
		return &at, nil
	}
	at, err := b.timeOf(ctx, text, global)
	if err == nil {
		at = at.UTC().Truncate(time.Second)
		return &at, nil
	}
	if _, located := errors.AsType[*dockerfile.Error](err); given && !located {
		return nil, &RequestError{err}
	}
	return nil, b.file.Fail(declaration(b.file, epochArg), text, err, Hint(err))
}

// timeOf is the time of a context, or else that of a stage.
func (b *build) timeOf(ctx context.Context, name string, global *plan.Args) (time.Time, error) {
	key := name
	if name == mainContextName {
		key = effect.MainContext
	}
	c, ok := b.sources.contexts[key]
	if _, named := b.NamedContexts[name]; ok || named {
		return contextTime(c, name)
	}
	for _, s := range b.file.Stages { // the first of that name, as in BuildKit
		if s.Name != "" && strings.EqualFold(s.Name, name) {
			return b.stageTime(ctx, s, global)
		}
	}
	return time.Time{}, &Error{
		fmt.Errorf("%s %q: it is neither a number nor a build context or stage", epochArg, name),
		"write seconds since 1970, context, or the name of a --build-context or a stage",
	}
}

// contextTime is the time of a context: of its commit, what a web server says, or that of the newest file in an archive.
func contextTime(c buildContext, name string) (time.Time, error) {
	if n, ok := c.(normalized); ok {
		c = n.buildContext
	}
	if dated, ok := c.(interface{ Time() (time.Time, bool) }); ok {
		if at, ok := dated.Time(); ok {
			return at, nil
		}
	}
	return time.Time{}, &Error{
		fmt.Errorf("%s %q: that build context has no time of its own", epochArg, name),
		"a git repository, an archive and what a web server dates have one; for a directory: " + epochArg + "=$(git log -1 --format=%ct)",
	}
}

// stageTime is the time of what a stage adds from elsewhere.
func (b *build) stageTime(ctx context.Context, s *dockerfile.Stage, global *plan.Args) (time.Time, error) {
	in, where, err := lower.EpochSource(b.file, s, b.BuildArgs, global)
	if err != nil {
		return time.Time{}, err
	}
	r, err := b.remotes.find(ctx, where)
	if err != nil {
		return time.Time{}, b.file.Fail(in, "", err, "")
	}
	at, ok, err := r.Time(ctx)
	if err == nil && !ok {
		err = fmt.Errorf("%s %q: what the stage adds has no time of its own", epochArg, s.Name)
		return at, b.file.Fail(in, "", err, "a commit, an archive and what a web server dates have one")
	}
	if err != nil {
		return at, b.file.Fail(in, "", err, "")
	}
	return at, nil
}

// declaration is the ARG before the first FROM that has a name.
func declaration(file *dockerfile.File, name string) (found dockerfile.Instruction) {
	for _, in := range file.Args {
		for _, arg := range in.Command.(*dockerfile.Arg).Args {
			if arg.Key == name {
				found = in
			}
		}
	}
	return found
}

func seconds(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

func same(a, b *time.Time) bool {
	return a == b || a != nil && b != nil && a.Equal(*b)
}
