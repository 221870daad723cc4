package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// serveByHand serves whichever host of the same user connects to a socket, one after the other, until it is interrupted.
func (s *server) serveByHand(name, path string) error {
	if err := privateDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("serve %q: %w", path, err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil { // of a run before
			return err
		}
	}
	listener, err := listenPrivately(path)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // the server has done so
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupts
		s.stop()
	}()
	fmt.Fprintf(os.Stderr, "plugin %s serves at %s until it is interrupted\n", name, path)
	return s.serve(&sameUser{listener}, nil)
}

// listenPrivately listens on a socket that other users may not connect to.
func listenPrivately(path string) (net.Listener, error) {
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return new(net.ListenConfig).Listen(context.Background(), "unix", path)
}

// privateDir makes a directory, or makes sure that it is accessible to nobody else.
func privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err == nil || !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || !known || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("the directory %q must be yours and accessible to you alone (chmod 700), or not exist", dir)
	}
	return nil
}

// sameUser accepts connections of processes of the same user.
type sameUser struct{ net.Listener }

func (l *sameUser) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if err := checkPeer(conn); err == nil {
			return conn, nil
		}
		_ = conn.Close() // it got nothing
	}
}

func checkPeer(conn net.Conn) error {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("not a unix socket")
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *syscall.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) {
		peer, peerErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, peerErr); err != nil {
		return err
	}
	if int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("the process %d belongs to another user", peer.Pid)
	}
	return nil
}
