package executor

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// A socket cannot be copied, and moved only within a file system. So a new one is made at the target, and what is said there
// is passed on.

// relay passes connections on to a socket.
type relay struct {
	listener *net.UnixListener
	to       string
	wait     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	done  bool
}

// showSocket makes a socket that stands for another.
func (l *laid) showSocket(ctx context.Context, c *cover, src shown) error {
	if c.filled {
		return errInTheWay
	}
	s := c.spot
	const short = ".trowel-socket" // a socket's path has at most 108 bytes
	var config net.ListenConfig
	at, err := config.Listen(ctx, "unix", descriptorPath(s.dir())+"/"+short)
	if err != nil {
		return err
	}
	listener := at.(*net.UnixListener)
	listener.SetUnlinkOnClose(false)
	r := &relay{listener: listener, to: descriptorPath(src.fd), conns: map[net.Conn]bool{}}
	r.wait.Go(func() { r.serve(ctx) })
	c.giveBack = r.stop
	if err := rename(s.dir(), short, s.dir(), s.name); err != nil {
		return errors.Join(err, unix.Unlinkat(s.dir(), short, 0))
	}
	if err := l.holdMade(c); err != nil {
		return err
	}
	return errors.Join(chown(c.made, src.stat.Uid, src.stat.Gid), chmod(c.made, src.stat.Mode))
}

func (r *relay) serve(ctx context.Context) {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return // it is closed
		}
		r.wait.Go(func() { r.pass(ctx, conn) })
	}
}

// pass passes on one connection until both ends have nothing more to say.
func (r *relay) pass(ctx context.Context, conn net.Conn) {
	var dialer net.Dialer
	to, err := dialer.DialContext(ctx, "unix", r.to)
	if err != nil {
		_ = conn.Close() // as who listens there would have done
		return
	}
	if !r.track(conn, to) {
		return
	}
	defer r.forget(conn, to)
	var back sync.WaitGroup
	back.Go(func() { copyHalf(conn, to) })
	copyHalf(to, conn)
	back.Wait()
}

// copyHalf copies one direction and says when it ends.
func copyHalf(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.(*net.UnixConn).CloseWrite()
}

func (r *relay) track(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		if r.done {
			_ = c.Close()
			continue
		}
		r.conns[c] = true
	}
	return !r.done
}

func (r *relay) forget(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(r.conns, c)
	}
}

// stop ends all connections.
func (r *relay) stop() error {
	r.mu.Lock()
	r.done = true
	for c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	err := r.listener.Close()
	r.wait.Wait()
	return err
}
