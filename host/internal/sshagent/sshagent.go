// Package sshagent lets the processes of a build ask SSH agents of its user: agents that run already, or one inside the
// builder that holds keys. What they can ask is which keys there are, and signatures: nothing changes an agent.
package sshagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// maxKey bounds a private key's file.
const maxKey = 100 << 10

// dialTimeout bounds how long an agent may take to answer.
const dialTimeout = 5 * time.Second

// Agents are the agents of a build by ID. The nil Agents are none.
type Agents struct{ agents map[string]source }

// source is one agent.
type source struct {
	socket string      // of an agent that runs
	keys   agent.Agent // or the one inside
}

// Error is an agent that cannot be used, with what the user can do about it.
type Error struct {
	ID   string
	Err  error
	hint string
}

// Error names the agent.
func (e *Error) Error() string { return fmt.Sprintf("SSH agent %q: %v", e.ID, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what would help.
func (e *Error) Hint() string { return e.hint }

// Open reads which agents there are: for each ID the path of an agent's socket, or the paths of private keys.
func Open(sources map[string][]string) (*Agents, error) {
	a := &Agents{agents: make(map[string]source, len(sources))}
	for id, paths := range sources {
		s, err := open(paths)
		if err != nil {
			e := &Error{ID: id, Err: err}
			if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
				e.hint = "load it into an agent with ssh-add, and name the agent"
			}
			return nil, e
		}
		a.agents[id] = s
	}
	return a, nil
}

func open(paths []string) (source, error) {
	ring := agent.NewKeyring()
	for _, p := range paths {
		info, err := os.Stat(p)
		switch {
		case err != nil:
			return source{}, err
		case info.Mode()&os.ModeSocket != 0 && len(paths) > 1:
			return source{}, errors.New("want one socket, or private keys")
		case info.Mode()&os.ModeSocket != 0:
			return source{socket: p}, nil
		}
		key, err := readKey(p)
		if err != nil {
			return source{}, fmt.Errorf("read private key %q: %w", p, err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			return source{}, fmt.Errorf("use private key %q: %w", p, err)
		}
	}
	if len(paths) == 0 {
		return source{}, errors.New("want a socket, or private keys")
	}
	return source{keys: ring}, nil
}

func readKey(path string) (any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, err
	}
	return ssh.ParseRawPrivateKey(text)
}

// Has says whether there is an agent of this ID.
func (a *Agents) Has(id string) bool {
	if a == nil {
		return false
	}
	_, ok := a.agents[id]
	return ok
}

// Serve answers on a listener in the name of an agent until stop is called, which closes the listener and every
// connection. warn is told of an agent that cannot be reached.
func (a *Agents) Serve(ctx context.Context, id string, l net.Listener, warn func(error)) (stop func() error) {
	s := &server{source: a.agents[id], warn: warn, open: map[net.Conn]bool{}}
	s.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			s.running.Go(func() { s.answer(ctx, id, conn) })
		}
	})
	return func() error {
		err := l.Close()
		s.closeAll()
		s.running.Wait()
		return err
	}
}

// server answers for one agent.
type server struct {
	source
	warn    func(error)
	running sync.WaitGroup

	mu   sync.Mutex
	done bool
	open map[net.Conn]bool
}

// track remembers a connection to be closed at the end, which may have come already.
func (s *server) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done {
		s.open[c] = true
	}
	return !s.done
}

func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	for c := range s.open {
		_ = c.Close() // a broken connection is as good
	}
}

func (s *server) forget(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	_ = c.Close()
}
