package executor

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The names under which this program starts itself. They are seen by nobody but [Main] and, for a moment, ps.
const (
	argStep      = "trowel-step"      // becomes the command of a step
	argSupervise = "trowel-supervise" // watches a step that has no PID namespace of its own
	argServe     = "trowel-serve"     // serves /proc to a step that has none
	argProbe     = "trowel-probe"     // tries a step inside a user namespace
	argMapped    = "trowel-mapped"    // waits for its user namespace's ID maps, then starts the next
	argSweep     = "trowel-sweep"     // empties the files of secrets if the builder dies
	argInside    = "trowel-inside"    // the program itself, in that user namespace
)

// Launcher starts processes. It exists only through [Main], because starting a process means running the program again.
type Launcher struct {
	inside bool // started by EnterUserNamespace

	// bound is set once a fresh /proc was refused, so that later steps do not try again.
	bound atomic.Bool

	missing sync.Once // what the kernel lacks has been told

	probes atomic.Int64

	told sync.Map // paths of files that cannot be kept from processes in place

	self     sync.Once
	selfFile *os.File
	selfErr  error

	plainSelf sync.Once
	plainFile *os.File
	plainErr  error
}

// Main must be called first thing in the program's main, and returns its launcher. A run of the program that does a step's work
// never gets to main: see takeOver.
func Main() *Launcher {
	if len(os.Args) > 0 && os.Args[0] == argInside {
		os.Args = insideArgs()
		return &Launcher{inside: true}
	}
	return &Launcher{}
}

// takeOver does the work of a run that this package started, and then never returns.
func takeOver() {
	if len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case argStep:
		runtime.LockOSThread() // credentials and filters belong to a thread, and execve keeps the one that calls it
		stepMain()
	case argSupervise:
		superviseMain()
	case argSweep:
		sweepMain()
	case argServe:
		serveMain()
	case argMapped:
		mappedMain()
	case argProbe:
		probeMain(&Launcher{inside: true})
	}
}

// Harden keeps other processes of the same user from reading this one's memory, environment and descriptors. The program
// calls it before it holds a credential; every process that this package starts does the same until it is the command.
func Harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the process undumpable: %w", err)
	}
	return nil
}

// UserNamespace tells how the program stands to user namespaces.
type UserNamespace struct {
	// Own is set if EnterUserNamespace made the namespace.
	Own bool
	// Initial is set in the machine's first user namespace: layers are then marked by trusted.overlay attributes, and
	// device nodes can be made.
	Initial bool
	// IDs is how many user IDs are mapped.
	IDs uint64
	// SingleID is set if processes have one user ID: here, or, as far as can be seen from here, in the namespace that
	// EnterUserNamespace would make for an ordinary user.
	SingleID bool
}

// UserNamespace tells how the program stands to user namespaces.
func (l *Launcher) UserNamespace() (UserNamespace, error) {
	ns := UserNamespace{Own: l.inside, Initial: initialUserNamespace()}
	ranges, err := readIDMap("/proc/self/uid_map")
	if err != nil {
		return ns, err
	}
	for _, r := range ranges {
		ns.IDs += uint64(r.Count)
	}
	ns.SingleID = ns.IDs == 1 || !ns.Own && os.Geteuid() != 0 && !expectsMaps()
	return ns, nil
}

// initialUserNamespace asks by inode: the maps of a nested namespace may look the same. The number is the kernel's
// PROC_USER_INIT_INO.
func initialUserNamespace() bool {
	name, err := os.Readlink("/proc/self/ns/user")
	return err == nil && name == "user:[4026531837]"
}

// idRange is a line of /proc/PID/uid_map: Count IDs from Inside on stand for those from Outside on.
type idRange struct{ Inside, Outside, Count uint32 }

func readIDMap(path string) ([]idRange, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read ID map: %w", err)
	}
	var ranges []idRange
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("read ID map %q: malformed line %q", path, line)
		}
		var n [3]uint32
		for i, field := range fields {
			v, err := strconv.ParseUint(field, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("read ID map %q: %w", path, err)
			}
			n[i] = uint32(v)
		}
		ranges = append(ranges, idRange{Inside: n[0], Outside: n[1], Count: n[2]})
	}
	return ranges, nil
}

func mapped(ranges []idRange, id uint32) bool {
	for _, r := range ranges {
		if id >= r.Inside && id-r.Inside < r.Count {
			return true
		}
	}
	return false
}
