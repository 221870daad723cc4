package wasm

import (
	"fmt"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// memory is the linear memory of one instance: a mapping as large as the limit, of which the kernel gives pages as they are
// written. It never moves, so that growing copies nothing, and it goes back to the kernel at once when the instance ends.
type memory struct {
	mapping []byte
	// refused says that the module asked for more than the limit.
	refused bool
}

// newMemory reserves memory up to a limit.
func newMemory(limit int64) (*memory, error) {
	mapping, err := unix.Mmap(-1, 0, int(limit), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %s of memory: %w", size(limit), err)
	}
	return &memory{mapping: mapping}, nil
}

// Allocate makes m the memory of the module being instantiated; a module has one.
func (m *memory) Allocate(_, _ uint64) experimental.LinearMemory { return m }

// Reallocate grows the memory, or returns nil above the limit.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.mapping)) {
		m.refused = true
		return nil
	}
	return m.mapping[:size:size]
}

// Free leaves the memory alone: the runtime calls it or not, depending on how an instance ended, and [memory.release] is
// called in any case.
func (m *memory) Free() {}

// release gives the memory back. The instance must not run any more.
func (m *memory) release() error {
	if m.mapping == nil {
		return nil
	}
	err := unix.Munmap(m.mapping)
	m.mapping = nil
	return err
}
