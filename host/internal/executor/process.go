package executor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/trowel-build/trowel/host/internal/identity"
)

// Rootfs is a root file system by its layers. All directories are made and removed by the caller.
type Rootfs struct {
	// Lowers are the layers' directories, topmost first, relative to LayersDir, in overlayfs' own format (whiteouts are
	// character devices 0:0; opaque directories carry trusted.overlay.opaque, or user.overlay.opaque where
	// [Launcher.UserNamespace] says so).
	Lowers    []string
	LayersDir string
	// Upper takes what the process changes, Work is overlayfs' own. Both lie on one file system, which is not an overlay.
	Upper, Work string
	// Merged is an empty directory to mount on. The mount exists in the process's mount namespace only.
	Merged string
}

// Process is what runs in a [Rootfs].
type Process struct {
	Args []string // Args[0] is looked up in Env's PATH inside the root file system
	Env  []string // NAME=value, the whole environment
	Dir  string   // absolute; it must exist
	User User

	Network    Network
	Privileges Privileges
	Hostname   string
	Proc       Proc
	// Limits are set in order; what they do not name is the builder's.
	Limits []Limit
	// ShmSize is the bytes that /dev/shm may take; 0 means 64 MiB.
	ShmSize int64
	// Mounts are made in order, after /proc, /dev and /sys. Every target must exist, except below /dev, which is the
	// executor's own: nothing is ever created in Upper.
	Mounts []Mount
	// ResolvConf and Hosts are seen, read-only, as /etc/resolv.conf and /etc/hosts; nil leaves the image's own.
	ResolvConf, Hosts []byte

	// Recorded is called for files that the process gave to users whom the kernel does not have here, where that could not be
	// noted with the file as [identity.Attribute]. Paths have no leading slash. Calls end before Run returns.
	Recorded func(path string, owner identity.Owner)

	// Stdout and Stderr may be the same writer; nil discards. Standard input is /dev/null.
	Stdout, Stderr io.Writer
	// Notice is told, in one line, what whoever waits for the process should know: that it waits itself, or that something
	// which was asked for cannot hold. nil discards.
	Notice func(text string)
}

// User is who a process runs as. Supplementary groups are exactly Groups.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// Network is what a process can reach.
type Network string

// The networks of a process. The zero value is the host's.
const (
	NetworkHost Network = "host"
	NetworkNone Network = "none" // a loopback interface of its own and nothing else
)

// Privileges say what a process may do to the machine.
type Privileges string

// The privileges of a process. The zero value is a container's.
const (
	PrivilegesContainer Privileges = "container" // what Docker leaves to a container
	// PrivilegesBuilder are all that the builder has: its capabilities whoever the user is, every system call, /proc, /sys
	// and control groups to write to, and the devices that BuildKit gives to an insecure step, as far as they can be made.
	PrivilegesBuilder Privileges = "builder"
)

// Proc says how a process sees /proc and with it other processes.
type Proc string

// The kinds of /proc. The zero value takes a fresh one, and the bound one where the kernel refuses the fresh one.
const (
	ProcAuto  Proc = ""
	ProcFresh Proc = "fresh" // a PID namespace of its own
	ProcBound Proc = "bound" // the builder's /proc and PID namespace; what the process leaves behind is killed one by one
)

// MountKind says what a [Mount] shows.
type MountKind string

// The kinds of mounts.
const (
	MountBind   MountKind = "bind"   // Source or File
	MountTmpfs  MountKind = "tmpfs"  // an empty file system in memory of at most Size bytes
	MountFile   MountKind = "file"   // one small file with Content, read-only
	MountSecret MountKind = "secret" // a file whose Content must never be on a disk
	MountLayers MountKind = "layers" // Layers, read-only unless they have an Upper

	mountPlace MountKind = "place" // the name of a file that is served, and the directories above it
)

// Mount is a further mount of a process.
type Mount struct {
	Kind   MountKind
	Target string // absolute inside the root file system
	// Source is an absolute path outside; File an open directory or file instead. SubPath is resolved below either, and
	// below Layers, with that as its root. In a [Plain] root file system Layers has one directory, with plain files and no
	// Merged.
	Source   string
	File     *os.File
	Layers   Rootfs
	SubPath  string
	ReadOnly bool

	Size     int64 // of a tmpfs, 0 for no limit of its own
	Content  []byte
	Mode     uint32 // of a tmpfs, file or secret; 0 means 01777 or 0444
	UID, GID uint32 // owner of a tmpfs, file or secret
}

// ExitError says that the command itself failed.
type ExitError struct {
	Code   int // as a shell has it: 128+n for signal n
	Signal int // 0 unless a signal ended the command
}

// Error implements error.
func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("killed by signal %d (exit code %d)", e.Signal, e.Code)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

func (r Rootfs) check() error {
	if !filepath.IsAbs(r.Merged) {
		return fmt.Errorf("root file system directory %q: want an absolute path", r.Merged)
	}
	return r.checkLayers()
}

// checkLayers leaves out where they are mounted: see [Mount.Layers].
func (r Rootfs) checkLayers() error {
	if len(r.Lowers) == 0 {
		return errors.New("root file system has no layers")
	}
	for _, name := range r.Lowers {
		// Overlayfs splits its options at these; our own layer names have none.
		if name == "" || filepath.IsAbs(name) || strings.ContainsAny(name, ",:\\\x00") {
			return fmt.Errorf("layer directory %q: want a name relative to the layers' directory without comma, colon and backslash", name)
		}
	}
	if !filepath.IsAbs(r.LayersDir) {
		return fmt.Errorf("root file system directory %q: want an absolute path", r.LayersDir)
	}
	if (r.Upper == "") != (r.Work == "") {
		return errors.New("root file system needs both an upper and a work directory, or neither")
	}
	return nil
}

func (p Process) check() error {
	if len(p.Args) == 0 || p.Args[0] == "" {
		return errors.New("no command given")
	}
	if !filepath.IsAbs(p.Dir) {
		return fmt.Errorf("working directory %q: want an absolute path", p.Dir)
	}
	for _, s := range append([]string{p.Dir, p.Hostname}, p.Args...) {
		if strings.Contains(s, "\x00") {
			return fmt.Errorf("argument %q contains a NUL byte", s)
		}
	}
	for _, s := range p.Env {
		name, _, _ := strings.Cut(s, "=") // the value may be a secret
		if strings.Contains(s, "\x00") {
			return fmt.Errorf("environment variable %q contains a NUL byte", name)
		}
	}
	switch p.Network {
	case "", NetworkHost, NetworkNone:
	default:
		return fmt.Errorf("network %q: want host or none", p.Network)
	}
	switch p.Privileges {
	case "", PrivilegesContainer, PrivilegesBuilder:
	default:
		return fmt.Errorf("privileges %q: want container or builder", p.Privileges)
	}
	switch p.Proc {
	case ProcAuto, ProcFresh, ProcBound:
	default:
		return fmt.Errorf("proc %q: want fresh or bound", p.Proc)
	}
	if p.ShmSize < 0 {
		return fmt.Errorf("size %d of /dev/shm: want 0 or more", p.ShmSize)
	}
	for _, l := range p.Limits {
		if err := l.Check(); err != nil {
			return err
		}
	}
	for _, m := range p.Mounts {
		if err := m.check(); err != nil {
			return fmt.Errorf("mount %q: %w", m.Target, err)
		}
	}
	return nil
}

func (m Mount) check() error {
	if !filepath.IsAbs(m.Target) || filepath.Clean(m.Target) == "/" {
		return errors.New("want an absolute target other than the root")
	}
	switch m.Kind {
	case MountBind:
		if (m.File == nil) == (m.Source == "") {
			return errors.New("want either a source or an open file")
		}
		if m.File == nil && !filepath.IsAbs(m.Source) {
			return fmt.Errorf("source %q: want an absolute path", m.Source)
		}
	case MountLayers:
		return m.Layers.checkLayers()
	case MountTmpfs, MountFile, MountSecret:
	default:
		return fmt.Errorf("kind %q: want bind, tmpfs, file, secret or layers", m.Kind)
	}
	return nil
}
