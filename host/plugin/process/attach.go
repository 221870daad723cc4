package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// attach connects to a plugin that the user started, by its socket.
func attach(ctx context.Context, o *Options) (*instance, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limits.Start, timeoutError("the plugin did not answer within", o.Limits.Start))
	defer cancel()
	if err := ownedPrivately(filepath.Dir(o.Attach)); err != nil {
		return nil, fmt.Errorf("attach to %q: %w", o.Attach, err)
	}
	conn, err := grpc.NewClient("passthrough:///plugin",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the directory and the peer's user are the protection
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dialOwn(ctx, o.Attach) }),
	)
	if err != nil {
		return nil, fmt.Errorf("attach to %q: %w", o.Attach, err)
	}
	i := &instance{disconnect: func() { _ = conn.Close() }} // nothing is left to be said to it
	if err := i.open(ctx, conn, o.Hello, o.Services); err != nil {
		if i.session != nil {
			i.session.close()
		}
		return nil, errors.Join(fmt.Errorf("attach to %q: %w", o.Attach, err), conn.Close())
	}
	return i, nil
}

// dialOwn connects to a socket at which a process of the same user listens.
func dialOwn(ctx context.Context, path string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := sameUser(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func sameUser(conn net.Conn) error {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("not a unix socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, peerErr); err != nil {
		return err
	}
	if int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("the process %d at the socket belongs to another user", peer.Pid)
	}
	return nil
}

// ownedPrivately makes sure that a directory is ours, and accessible to nobody else.
func ownedPrivately(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || !known || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("the directory %q must belong to the user who builds, and be accessible to nobody else (chmod 700)", dir)
	}
	return nil
}
