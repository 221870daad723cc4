package stage

import (
	"context"
	"time"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/cachemount"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/plan"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/secret"
	"github.com/trowel-build/trowel/host/internal/sshagent"
)

// Options are what the stages of one build share. All fields are required unless they say otherwise.
type Options struct {
	// Plans are those of one Dockerfile, one for each platform. No two have stages with the same ID.
	Plans   []*plan.Plan
	Lowered map[string]*lower.Lowered // by stage ID
	// Images are the images that FROM and COPY --from name, and the named contexts that are images.
	Images map[ImageKey]*base.Image
	// Contexts are the main build context, as [effect.MainContext], and the named ones that are no images.
	Contexts map[string]Context
	// Remotes find what ADD names elsewhere.
	Remotes Remotes

	Store *blob.Store
	// Dir holds the root file systems of processes. It is empty at first, and so it should be at last: see [Engine.Close].
	Dir   string
	Cache *cache.Tiers
	// NoCache says for which stages nothing is looked up; nil means for none.
	NoCache func(*plan.Stage) bool
	// Layers says how the layers of the image are compressed, and Form what else is done to them on their way out.
	Layers layer.Options
	Form   Form
	// Launcher starts processes; nil if none can be started.
	Launcher *executor.Launcher
	// Isolate finds out how they are isolated. It is asked if one has to run, before the first; nil if there is no Launcher.
	Isolate func() (Isolation, error)
	// Enter is called before a process runs in place, and what it returns after it.
	Enter func(context.Context) (leave func(), err error)
	// Run is what all processes have in common.
	Run Run
	// Secrets and Agents are those that processes may be shown; nil for none.
	Secrets *secret.Store
	Agents  *sshagent.Agents
	// CacheMounts opens what keeps the directories of cache mounts.
	CacheMounts func() (*cachemount.Store, error)
	// Publish is told of each layer of the image as soon as there is one, even if it is still being written; nil for
	// nobody.
	Publish  func(*Layer)
	Progress progress.Reporter
	// Created is the time of what has no other: the build's start, or Epoch, SOURCE_DATE_EPOCH, which is nil if not set.
	Created time.Time
	Epoch   *time.Time
	// Jobs bounds how many stages are at work at once; 0 means no bound.
	Jobs int
}

// Isolation is how the processes of a build are isolated.
type Isolation struct {
	// CannotRun is why none can be run; nil if they can.
	CannotRun error
	// Rung is how they are isolated if their root file system is a plain directory; empty if it is layers.
	Rung executor.Rung
	// Root is what its executor has to know beside the directories.
	Root executor.Plain
	// Memory holds unpacked layers that fit; nil for none.
	Memory *Memory
	// Chosen tells how processes are isolated, Notice what is to be known of it. Both are told before the first process runs;
	// empty for nothing.
	Chosen, Notice string
}

// Context is a build context.
type Context interface {
	// Tree indexes at least what is wanted of the context, paths and patterns.
	Tree(ctx context.Context, wanted []string) (*filetree.Tree, error)
	// Digests fills in the content digests of files, of this context or any other, that nobody read yet.
	Digests(ctx context.Context, changes []filetree.Change) error
	// Missing is the error for a source that the tree does not have; nil if there is no more to say about it.
	Missing(ctx context.Context, path string) error
}

// Form says in what the layers of the image differ from those that steps see.
type Form struct {
	// NotAfter is the latest time of a file in a layer that the build makes, that is SOURCE_DATE_EPOCH; nil: files keep
	// their times.
	NotAfter *time.Time
	// Ignore are paths that the layers which the build makes do not have, nor anything below them.
	Ignore []string
	// Layers says how many the build makes of its own.
	Layers LayerCount
	// Base says what becomes of the compression of base images' layers.
	Base BaseCompression
}

// LayerCount says how many layers an image has beyond its base.
type LayerCount string

// The counts.
const (
	LayerEachStep LayerCount = ""
	OneLayer      LayerCount = "one"
)

// rewrites says whether the image has other layers than its steps made.
func (f Form) rewrites() bool { return f.NotAfter != nil || len(f.Ignore) > 0 || f.Layers == OneLayer }

// BaseCompression says what becomes of the compression of base images' layers.
type BaseCompression string

// What becomes of it.
const (
	KeepCompression  BaseCompression = ""
	ForceCompression BaseCompression = "force" // it is made that of the image's own layers
)

// Run is what the processes of a build have in common.
type Run struct {
	Network    effect.Network // of those that do not say
	Hostname   string
	ResolvConf []byte
	Hosts      string
	Limits     []effect.Limit
	ShmSize    int64
}

// ImageKey names an image for a platform.
type ImageKey struct {
	At       effect.Location
	Platform string
}
