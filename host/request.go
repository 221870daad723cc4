package host

import (
	"context"
	"io"
	"time"

	"github.com/trowel-build/trowel/host/config"
	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/secret"
	"github.com/trowel-build/trowel/sdk"
)

// Request says what to build and where it goes. The zero value of every field but Context means the default that the
// command line documents.
type Request struct {
	// Context is what COPY reads: a directory, a tar archive, an http(s) address, a git repository, or "-" for Stdin.
	Context string
	// ContextDir is the directory of an archive that is the build context; empty means all of it.
	ContextDir string
	// Dockerfile is the file's path, relative to the working directory; empty means Dockerfile in the context, and "-"
	// Stdin.
	Dockerfile string
	Stdin      io.Reader
	// Target is the stage to build; empty means the last one.
	Target string
	// AlsoTargets are stages that are built as well and go nowhere; EarlierStages builds those before Target in the
	// Dockerfile.
	AlsoTargets   []string
	EarlierStages Switch
	// Platforms such as "linux/arm64" that the image is for; none means this machine's. For several there is an index over
	// an image for each.
	Platforms []string
	// BuildArgs are the values of ARG instructions.
	BuildArgs map[string]string
	// NamedContexts are further places for FROM and COPY --from: "docker-image://REF", "oci-layout://DIR[:TAG]", or what
	// Context can be.
	NamedContexts map[string]string
	// CI says which commit is meant where Context is a repository without one; the zero value is nobody's job.
	CI CI
	// Secrets are what the build may read and must not keep, by ID.
	Secrets map[string]Secret
	// SSH are the agents that the build may ask, by ID: the path of an agent's socket, or those of private keys.
	SSH map[string][]string
	// Labels are added to the image's config, over those of the Dockerfile.
	Labels map[string]string
	// Annotations are added to the manifest: "key=value", with buildx's prefixes such as "index:".
	Annotations []string

	// Stdout receives outputs whose destination is "-".
	Stdout io.Writer

	// Tags are the image's references.
	Tags []string
	// Outputs say where the image goes, as buildx's --output does: "type=oci,dest=image.tar".
	Outputs []string
	// Push sends the image to the registries of its tags.
	Push Switch

	// NoCache builds every step anew; what was built is stored all the same. NoCacheFor does so for the stages named.
	NoCache    Switch
	NoCacheFor []string
	// Caches are asked in order.
	Caches []Cache
	// Instructions are those that the Dockerfile may use beside its language's own.
	Instructions []Instructions
	// Credentials are asked in order.
	Credentials []sdk.CredentialProvider
	// Registries say how registries are reached, by host.
	Registries map[string]config.Registry
	// DefaultRegistry says how those are reached that Registries does not name.
	DefaultRegistry config.Registry
	// RegistryAttempts is how often a request to a registry is made before it is given up; 0 means 6.
	RegistryAttempts int
	// SkipPushCheck does not ask whether the image may be pushed before it is there.
	SkipPushCheck Switch
	// KeepImmutable takes it for success where a registry refuses to name the image because the tag exists and cannot be
	// moved.
	KeepImmutable Switch
	// Proxy says through which proxies registries are reached; the zero value means those of the environment.
	Proxy config.Proxy

	// Compression of layers: "gzip", "zstd" or "none", and its level; 0 is the default level.
	Compression      string
	CompressionLevel int
	// Epoch is SOURCE_DATE_EPOCH: the time that the image says it was created.
	Epoch *time.Time
	// EpochFrom takes it from a build context or a stage where Epoch is nil: "context" is the main one, other names are those of
	// NamedContexts. A commit has a time, an archive that of its newest file, and a web server may tell one.
	EpochFrom string
	// RewriteTimestamp gives no file of a layer that the build makes a time after Epoch. Layers of base images stay.
	RewriteTimestamp Switch
	// IgnorePaths are left out of the layers that the build makes, with all below them; steps see them all the same.
	IgnorePaths []string
	// OneLayer makes a single layer of all that the image has beyond its base.
	OneLayer Switch
	// NormalizeContext makes the build independent of the umask and the times with which the context was checked out:
	// files have mode 0644, or 0755 if their owner may execute them, directories 0755, and all the same time.
	NormalizeContext Switch
	// Network is what RUN reaches unless it says otherwise: "default", "host" or "none".
	Network string
	// Allow lists what a Dockerfile may ask for beyond the usual: [GrantNetworkHost], [GrantSecurityInsecure].
	Allow []string
	// ExtraHosts are lines of the /etc/hosts that RUN sees: "host:ip".
	ExtraHosts []string
	// Ulimits are limits of RUN, as docker writes them: "nofile=1024:2048", soft and hard, or one number for both; -1 is
	// none. Of several for one resource the last counts.
	Ulimits []string
	// ShmSize is the bytes that /dev/shm of RUN may take; 0 means 64 MiB.
	ShmSize int64
	// Keep are paths that are read by their names while a RUN runs in place, such as a cache's directory. Pause stops what
	// would be beside such a RUN and must not be reached by it, until resume is called; nil for nothing.
	Keep  []string
	Pause func(context.Context) (resume func(), err error)
	// Isolation of RUN is one of [Isolations].
	Isolation string
	// OverwriteRoot says that the user agrees to RUN in the container's own root directory where [IsolationAuto] finds nothing
	// better: the container need not say so itself. A machine's is left alone all the same.
	OverwriteRoot Switch
	// MinIsolation is the weakest that is taken, one of [MinIsolations]; empty takes any that Isolation leaves.
	MinIsolation string

	// CacheMounts says where the caches of RUN --mount=type=cache are kept.
	CacheMounts CacheMounts
	// WorkDir is a directory for what a build needs while it runs; it should be on the file system of the local cache.
	// Empty means the system's directory for temporary files.
	WorkDir string
	// TreeMemory is how many bytes of unpacked layers may be held in memory while processes run; nil means a quarter of
	// what is free, at most 2 GiB, and 0 none.
	TreeMemory *int64
	// Jobs is how many stages are built at once; 0 means as many as the plan allows.
	Jobs int
	// Launcher runs the processes of RUN. Without one a build that has to run something fails before it starts.
	Launcher *Launcher
	// Progress receives the events of the build; nil discards them.
	Progress Reporter
	// UserAgent is sent to registries.
	UserAgent string
}

// Switch is a setting that is on or off. It is a type of its own so that a call says which setting it turns on.
type Switch bool

// The positions of a [Switch].
const (
	Off Switch = false
	On  Switch = true
)

// CacheMounts says where the caches of RUN --mount=type=cache are kept on this machine.
type CacheMounts struct {
	// Dir is this user's alone; empty means that they end with the build.
	Dir string
	// MaxSize in bytes; zero means no limit. A build that exceeds it removes what was not used for longest.
	MaxSize int64
}

// Secret says where a secret's value comes from. Printing one shows no value.
type Secret = secret.Source

// DefaultSSH is the ID of the agent that is meant where none is named.
const DefaultSSH = "default"

// Cache is a cache backend and what it is used for.
type Cache struct {
	Name    string // for messages
	Backend sdk.Cache
	// Roles lists "read" and "write"; empty means both.
	Roles []string
	// Place says where the backend is.
	Place CachePlace
	// Holds says what is kept there.
	Holds CacheHolds
	// Repository is that of a registry which the backend is, such as "registry.example.com/app/cache"; empty for others. What
	// is pushed to the same registry need not be sent again.
	Repository string
	// Start makes a backend ready that takes a while for it; nil for others. [Build] calls it before it does anything else if
	// it is sure to ask the backend. What comes of it shows when the backend is asked.
	Start func(context.Context)
}

// CacheHolds says what a cache backend is used for.
type CacheHolds = cache.Reach

// What a backend can hold.
const (
	CacheEverything = cache.Shared
	CacheBases      = cache.Bases // base images alone
)

// CachePlace says where a cache backend is.
type CachePlace = cache.Place

// The places of cache backends.
const (
	CacheNear   = cache.Near   // on this machine: blobs of base images are kept as well
	CacheRemote = cache.Remote // as far away as registries are
)

// Reporter receives what a build tells its user.
type Reporter = progress.Reporter

// Event is what a [Reporter] receives.
type Event = progress.Event

// Launcher runs the processes of RUN. Get one from [NewLauncher] first thing in main.
type Launcher = executor.Launcher

// Result is what a build made.
type Result struct {
	// Digest, MediaType and Size are those of what the names refer to: the index over the images, or where there is none
	// the manifest of the only one.
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
	// Names are the references the image was pushed or written under.
	Names []string `json:"names,omitempty"`
	// Images are those for each platform, in the order of the request.
	Images []ResultImage `json:"images"`
}

// ResultImage is the image for one platform.
type ResultImage struct {
	Platform string `json:"platform"`
	// Digest, MediaType and Size are the manifest's.
	Digest    string `json:"digest"`
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
	// Config is the digest of the image's config: what docker calls the image ID.
	Config string `json:"config"`
}
