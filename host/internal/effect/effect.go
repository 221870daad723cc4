// Package effect is the language between instructions and engine. An instruction, whoever defined it, is lowered to
// effects; what executes, caches and snapshots knows effects and never an instruction's name.
//
// All effects are values that are complete in themselves: variables are expanded, paths are absolute. Two equal effects on
// equal trees give equal layers, which is what the cache keys rest on.
package effect

import "github.com/trowel-build/trowel/host/internal/gitref"

// Effect is one thing a step does: [Exec], [Copy], [Mkdir], [Symlink] and [Remove] change files; [Set] changes the image's
// configuration.
type Effect interface{ effect() }

func (Exec) effect()    {}
func (Copy) effect()    {}
func (Mkdir) effect()   {}
func (Symlink) effect() {}
func (Remove) effect()  {}
func (Set) effect()     {}

// Exec runs a process in the stage's root file system and keeps what it changed.
type Exec struct {
	Args []string // the first is looked up in Env's PATH inside the root file system
	Env  []string // NAME=value, the whole environment but for HOME, which comes from the user's passwd entry where Env has none
	// Unkeyed are further variables, seen by the process and left out of cache keys and history: proxies. They win over
	// Env.
	Unkeyed  []string
	Dir      string // absolute
	User     string // as USER says it: "", "name", "uid", "user:group"
	Network  Network
	Security Security
	// Limits are those of setrlimit(2) that are not the builder's.
	Limits []Limit
	// ShmSize is the bytes that /dev/shm may take; 0 means the usual.
	ShmSize int64
	// Hosts is the /etc/hosts that the process sees.
	Hosts string
	// Scripts are files that the process sees read-only below /dev/pipes while it runs: heredocs that start with "#!".
	Scripts []File
	// Mounts are made in the order of their targets.
	Mounts []Mount
}

// Limit bounds what a process may use of a resource, which is named as docker names it; -1 is no bound.
type Limit struct {
	Name       string
	Soft, Hard int64
}

// Network is what a process can reach.
type Network string

// The networks of a process.
const (
	NetworkDefault Network = "default" // the builder's choice: the host's
	NetworkHost    Network = "host"
	NetworkNone    Network = "none"
)

// Security says what a process may do to the machine.
type Security string

// The security of a process.
const (
	SecuritySandbox  Security = ""         // what Docker lets a container do
	SecurityInsecure Security = "insecure" // what the builder may do
)

// Copy copies files into the stage's root file system: COPY and ADD.
type Copy struct {
	Sources []CopySource
	// Dest is absolute. A trailing slash (or a last element ".") says that it names a directory.
	Dest string
	// Owner is --chown: "user", "user:group", names or numbers; "" leaves owners as the source has them.
	Owner string
	// Mode is --chmod, octal or symbolic; "" leaves modes as they are.
	Mode string
	// Exclude are patterns of .dockerignore's language, relative to each source.
	Exclude []string
	Layout  Layout
	// Overlay says how the destination is treated: see [Overlay].
	Overlay Overlay
	// Time is given to what no source dates, in nanoseconds since the epoch; 0 is the time of the build, which is not
	// part of what the step is.
	Time int64
}

// CopySource is files from one place.
type CopySource struct {
	From Location
	// Paths are clean and relative to the location's root, "." being the root itself, wildcards included; with
	// LayoutParents one may have the pivot "/./". Unused with Inline files.
	Paths []string
	// Inline are files that the Dockerfile itself holds: heredocs.
	Inline []File
	Unpack Unpack
}

// Location names a place that files are copied from. Exactly one field is set; all empty means that the source is inline.
type Location struct {
	Context string // a named build context, or [MainContext]
	Stage   string // the ID of a stage of this build
	Image   string // an image reference
	URL     URL    `json:",omitzero"`
	Git     Git    `json:",omitzero"`
}

// IsRemote says whether the files are fetched from elsewhere for this one copy.
func (l Location) IsRemote() bool { return l.URL != URL{} || l.Git != Git{} }

// URL is a file that a web server has.
type URL struct {
	Address  string
	Checksum string // the digest that it must have; "" for any
}

// Git is the files of a commit in a git repository.
type Git struct {
	Remote     string // as git takes it
	Ref        string // "" is the remote's own choice
	Commit     string // the start of the commit that it must be; "" for any
	Subdir     string // clean and relative; "" for all
	Directory  GitDirectory
	Submodules Submodules
	ModTime    gitref.ModTime
	Fetch      gitref.Fetch
}

// GitDirectory says whether the directory .git is one of the files.
type GitDirectory string

// What becomes of .git.
const (
	GitDirectoryDropped GitDirectory = ""
	GitDirectoryKept    GitDirectory = "kept"
)

// Submodules says whether a repository's submodules are among its files.
type Submodules string

// What becomes of submodules.
const (
	SubmodulesFetched Submodules = ""
	SubmodulesEmpty   Submodules = "empty"
)

// MainContext is the name of the build context that COPY reads without --from.
const MainContext = "context"

// File is a small file by its content.
type File struct {
	Name    string
	Content string
}

// Layout says what path a copied file gets below the destination.
type Layout string

// The layouts of a copy.
const (
	LayoutFlat    Layout = ""        // a file under its name, a directory's entries directly
	LayoutParents Layout = "parents" // --parents: the path as written is kept
)

// Unpack says whether archives are unpacked.
type Unpack string

// What is done with archives.
const (
	UnpackNever  Unpack = ""       // COPY, and ADD of what is not local
	UnpackAlways Unpack = "always" // ADD of local files, and of others with --unpack: what is an archive by its content is unpacked
)

// Overlay says how a copy's result meets what is there.
type Overlay string

// The ways to lay a copy on the stage's files.
const (
	OverlayMerge  Overlay = ""     // symlinks in the destination are followed
	OverlayLinked Overlay = "link" // --link: copied into an empty tree, stacked on top
)

// Mkdir makes a directory and its missing parents, all owned by User: WORKDIR. It makes a layer even if the directory
// exists.
type Mkdir struct {
	Path string // absolute
	User string // as Exec.User
	Mode string // octal; "" is 0755
	Time int64  // as Copy.Time
}

// Symlink makes a symbolic link, replacing what is there unless it is a directory.
type Symlink struct {
	Path   string // absolute
	Target string
	Time   int64 // as Copy.Time
}

// Remove removes a file, or a directory with all that it holds.
type Remove struct {
	Path string // absolute
}

// Set changes one part of the image's configuration. Fields name the OCI config's; Value is its JSON form. It makes no layer.
type Set struct {
	Field string // "Env", "Labels", "Cmd", …
	Value string
}
