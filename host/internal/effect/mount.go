package effect

// Mount is something that a process sees while it runs and that no layer holds: RUN --mount.
type Mount struct {
	Kind MountKind
	// Target is absolute; empty for a secret that is a variable alone.
	Target string
	Access Access
	// From says whose files a bind mount shows, or a cache mount starts with; that of a cache mount may be empty.
	From Location
	// Source is clean and relative to the root of From; "." is all of it.
	Source string
	// ID names a cache, a secret or an SSH agent.
	ID      string
	Sharing Sharing // of a cache
	Need    Need    // of a secret or an SSH agent
	Env     string  // the variable that a secret is in; "" for none
	Size    int64   // of a tmpfs in bytes; 0 for no limit of its own
	// Mode and owner of a secret's file, of an agent's socket, and of the directory that a cache starts as, for which Mode
	// may be AsSource.
	Mode, UID, GID int64
}

// AsSource is the mode of a cache that starts with files, and with the mode and owner of their directory.
const AsSource = -1

// MountKind says what a mount shows.
type MountKind string

// The kinds of mounts.
const (
	MountBind   MountKind = "bind"   // files of a context, stage or image; what is written is discarded
	MountCache  MountKind = "cache"  // a directory that outlives the build
	MountTmpfs  MountKind = "tmpfs"  // an empty directory in memory
	MountSecret MountKind = "secret" // a file that is only there
	MountSSH    MountKind = "ssh"    // the socket of an SSH agent
)

// Access says whether a mount can be written to.
type Access string

// The ways to access a mount.
const (
	ReadOnly  Access = ""
	ReadWrite Access = "rw"
)

// Sharing says how processes that run at once share a cache.
type Sharing string

// The ways to share a cache.
const (
	SharingShared  Sharing = "shared"  // all use it at once
	SharingPrivate Sharing = "private" // each has one of its own
	SharingLocked  Sharing = "locked"  // one after the other
)

// Need says what happens where the build was not given what a mount shows.
type Need string

// The needs.
const (
	Optional Need = ""         // there is nothing then
	Required Need = "required" // the step fails
)

// ReadsFiles says whether a mount shows files that the build knows: those are part of what the step is.
func (m Mount) ReadsFiles() bool {
	return m.Kind == MountBind || m.Kind == MountCache && m.From != Location{}
}
