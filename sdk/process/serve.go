package process

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk/abi"
	"github.com/trowel-build/trowel/sdk/process/wire"
)

// The environment variables that say how the process was started.
const (
	envServe    = "TROWEL_PLUGIN_SERVE"
	envLifeline = wire.Lifeline
)

// Handler answers the operations of one host: a method such as that of an abi.Server. The host is reached with the context
// of the call, or one derived from it, until the handler returns.
type Handler func(ctx context.Context, host abi.Host, op abi.Op, request []byte) (envelope []byte)

// Serve serves operations until the host says that it is done, and ends the process. Each host that connects has a handler
// of its own. The name says in messages who speaks.
func Serve(name string, newHandler func() Handler) {
	os.Exit(run(name, newHandler))
}

func run(name string, newHandler func() Handler) (exitCode int) {
	s := &server{newHandler: newHandler, stopping: make(chan struct{})}
	var err error
	switch {
	case os.Getenv(envServe) != "":
		err = s.serveByHand(name, os.Getenv(envServe))
	case os.Getenv(wire.CookieName) == wire.CookieValue:
		err = s.serveSpawned()
	default:
		fmt.Fprintf(os.Stderr, "This is %s, a plugin of Trowel. Trowel starts it itself: name this file in trowel.toml, as\n"+
			"[plugins.NAME] source = \"file:PATH\" with trust = \"native\". To debug it, set %s=/a/new/directory/plugin.sock.\n", name, envServe)
		return 2
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "plugin %s: %v\n", name, err)
		return 1
	}
	return 0
}

// server serves a plugin to one host at a time.
type server struct {
	newHandler func() Handler
	busy       sync.Mutex // held by the session

	once     sync.Once
	stopping chan struct{}
}

func (s *server) stop() { s.once.Do(func() { close(s.stopping) }) }

// serve answers until it is told to stop. Without settings for TLS it speaks plainly.
func (s *server) serve(listener net.Listener, settings *tls.Config) error {
	var protocols http.Protocols
	protocols.SetHTTP2(settings != nil)
	protocols.SetUnencryptedHTTP2(settings == nil)
	h := &http.Server{
		Handler:   s,
		TLSConfig: settings,
		Protocols: &protocols,
		ErrorLog:  log.New(os.Stderr, "", 0),
		HTTP2:     &http.HTTP2Config{MaxReceiveBufferPerStream: wire.Window, MaxReceiveBufferPerConnection: 2 * wire.Window},

		ReadHeaderTimeout: time.Minute,
	}
	served := make(chan error, 1)
	go func() {
		if settings != nil {
			served <- h.ServeTLS(listener, "", "")
		} else {
			served <- h.Serve(listener)
		}
	}()
	select {
	case err := <-served:
		return err
	case <-s.stopping:
	}
	// Sessions end because of stopping too; a call that ignores its context does not keep the process.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
