package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// socketName is that of an agent's socket in a directory of its own.
const socketName = "agent"

// showAgent shows the socket of an SSH agent, behind which the builder passes on questions.
func (b *builder) showAgent(ctx context.Context, m *mounted, x effect.Mount) error {
	e := b.engine
	if !e.Agents.Has(x.ID) {
		if x.Need == effect.Optional {
			return nil
		}
		return &missingAgent{x.ID}
	}
	dir, l, err := e.listen(ctx, x)
	if err != nil {
		return fmt.Errorf("make the agent's socket: %w", err)
	}
	stop := e.Agents.Serve(ctx, x.ID, l, func(err error) { e.warn(err.Error()) })
	m.releases = append(m.releases, func() error { return errors.Join(stop(), dir.Close()) })
	m.add(rootfs.Target{Path: x.Target, Type: filetree.Regular}, executor.Mount{
		Kind: executor.MountBind, File: dir, SubPath: socketName,
	})
	return nil
}

// listen makes a socket in a new directory. It is bound through the directory's descriptor: a socket's path has at most 108
// bytes.
func (e *Engine) listen(ctx context.Context, x effect.Mount) (dir *os.File, l net.Listener, err error) {
	path := filepath.Join(e.Dir, e.place())
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, nil, err
	}
	if dir, err = os.Open(path); err != nil {
		return nil, nil, err
	}
	fd := int(dir.Fd())
	var config net.ListenConfig
	if l, err = config.Listen(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", fd, socketName)); err != nil {
		return nil, nil, errors.Join(err, dir.Close())
	}
	uid, gid := e.owners.OnDisk(uint32(x.UID), uint32(x.GID))
	err = errors.Join(
		unix.Fchownat(fd, socketName, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW),
		unix.Fchmodat(fd, socketName, uint32(x.Mode)&0o777, 0),
	)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close(), dir.Close())
	}
	return dir, l, nil
}

// missingAgent says that a step needs an agent that the build was not given.
type missingAgent struct{ id string }

// Error names the agent.
func (e *missingAgent) Error() string {
	return fmt.Sprintf("SSH agent %q: the build was given no such agent", e.id)
}

// Hint says how to give it.
func (e *missingAgent) Hint() string { return "give it with --ssh " + e.id }
