package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
)

// Memory is a directory in memory where layers are unpacked that processes only read. To make ten thousand files is most
// of the work of a small base, and a disk's file system takes several times as long for it.
type Memory struct {
	Dir string

	mu   sync.Mutex
	left int64
}

// NewMemory allows so many bytes of files in dir.
func NewMemory(dir string, budget int64) *Memory { return &Memory{Dir: dir, left: budget} }

// errNoRoom says that a layer turned out to be larger than what is left.
var errNoRoom = errors.New("no room in memory")

// take takes bytes of the budget, if it has them.
func (m *Memory) take(n int64) bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > m.left {
		return false
	}
	m.left -= n
	return true
}

const (
	// fileCost is what a file takes in memory beside its content, which takes whole pages.
	fileCost = 1 << 10
	page     = 4 << 10
)

func pages(n int64) int64 { return (n + page - 1) / page * page }

// expectedSize is about how much a layer takes unpacked.
func (l *Layer) expectedSize() int64 {
	if l.pending != nil {
		return l.bytes
	}
	if c, err := image.LayerCompression(l.known.MediaType); err == nil && c == image.Uncompressed {
		return l.known.Size
	}
	return 3 * l.known.Size
}

// sizeOf is what changes take unpacked.
func sizeOf(changes []filetree.Change) int64 {
	var n int64
	for i := range changes {
		n += pages(changes[i].Size) + fileCost
	}
	return n
}

// reservation is the part of the memory that a layer takes while it is unpacked.
type reservation struct {
	memory      *Memory
	taken, used int64
}

// add counts a file, and takes more memory where the layer turns out to be larger than expected.
func (r *reservation) add(e *filetree.Entry) error {
	if r == nil {
		return nil
	}
	r.used += pages(e.Size) + fileCost + int64(len(e.Link))
	for _, value := range e.Xattrs {
		r.used += int64(len(value)) + fileCost
	}
	if r.used <= r.taken {
		return nil
	}
	more := max(r.used-r.taken, 16<<20)
	if !r.memory.take(more) {
		return errNoRoom
	}
	r.taken += more
	return nil
}

// placeFor makes an empty directory for a layer to be unpacked into: in memory if there is room, else below e.Dir, where it
// has a name in either case.
func (e *Engine) placeFor(l *Layer) (name, dir string, r *reservation, err error) {
	name = e.place()
	dir = filepath.Join(e.Dir, name)
	if n := l.expectedSize(); e.Memory.take(n) {
		inMemory := filepath.Join(e.Memory.Dir, name)
		if err := os.Mkdir(inMemory, 0o755); err == nil {
			return name, inMemory, &reservation{memory: e.Memory, taken: n}, os.Symlink(inMemory, dir)
		}
	}
	return name, dir, nil, os.Mkdir(dir, 0o755)
}

// retry says whether a layer that could not be unpacked in memory is worth another try on disk.
func (r *reservation) retry(ctx context.Context, err error) bool {
	return r != nil && err != nil && ctx.Err() == nil
}

// giveBack frees what was taken.
func (r *reservation) giveBack() {
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	r.memory.left += r.taken
	r.taken = 0
}
