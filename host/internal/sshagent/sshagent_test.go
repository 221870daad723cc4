package sshagent

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// writeKey writes a private key, encrypted if there is a passphrase.
func writeKey(t *testing.T, key any, passphrase string) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newKeys(t *testing.T) (ed25519.PrivateKey, *rsa.PrivateKey) {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return ed, r
}

// serve gives a client of an agent, as a process of a build has it.
func serve(t *testing.T, a *Agents) agent.ExtendedAgent {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	stop := a.Serve(t.Context(), "x", l, func(err error) { t.Log(err) })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return agent.NewClient(conn)
}

// TestServe asks the agent inside, and one that runs elsewhere.
func TestServe(t *testing.T) {
	t.Parallel()
	ed, r := newKeys(t)
	keys := []string{writeKey(t, ed, ""), writeKey(t, r, "")}

	ring := agent.NewKeyring()
	for _, k := range []any{&ed, r} {
		if err := ring.Add(agent.AddedKey{PrivateKey: k}); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(ring, conn)
		}
	}()
	for name, paths := range map[string][]string{"keys": keys, "socket": {socket}} {
		a, err := Open(map[string][]string{"x": paths})
		if err != nil {
			t.Fatal(err)
		}
		client := serve(t, a)
		list, err := client.List()
		if err != nil || len(list) != 2 {
			t.Fatalf("%s: List: %v, %v", name, list, err)
		}
		for _, k := range list {
			flags := agent.SignatureFlags(0)
			if k.Type() == ssh.KeyAlgoRSA {
				flags = agent.SignatureFlagRsaSha256
			}
			sig, err := client.SignWithFlags(k, []byte("data"), flags)
			if err != nil {
				t.Errorf("%s: sign: %v", name, err)
				continue
			}
			if k.Type() == ssh.KeyAlgoRSA && sig.Format != ssh.KeyAlgoRSASHA256 {
				t.Errorf("%s: the signature is %s: the flag was lost", name, sig.Format)
			}
			if err := k.Verify([]byte("data"), sig); err != nil {
				t.Errorf("%s: verify: %v", name, err)
			}
		}
		// Nothing changes the agent, and nothing else is answered.
		for what, err := range map[string]error{
			"remove all": client.RemoveAll(), "remove": client.Remove(list[0]), "lock": client.Lock([]byte("x")),
			"unlock": client.Unlock([]byte("x")), "add": client.Add(agent.AddedKey{PrivateKey: &ed}),
		} {
			if err == nil {
				t.Errorf("%s: %s was done", name, what)
			}
		}
		if _, err := client.Extension("session-bind@openssh.com", nil); err == nil {
			t.Errorf("%s: an extension was answered", name)
		}
		if list, err := client.List(); err != nil || len(list) != 2 {
			t.Errorf("%s: List afterwards: %v, %v", name, list, err)
		}
	}
	if list, err := ring.List(); err != nil || len(list) != 2 {
		t.Errorf("the agent has changed: %v, %v", list, err)
	}
}

// TestStop ends what a process that is gone, or one that is not, left open.
func TestStop(t *testing.T) {
	t.Parallel()
	ed, _ := newKeys(t)
	a, err := Open(map[string][]string{"x": {writeKey(t, ed, "")}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	stop := a.Serve(t.Context(), "x", l, func(err error) { t.Error(err) })
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := agent.NewClient(conn).List(); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}

func TestHostileMessages(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty message": "\x00\x00\x00\x00", "huge message": "\xff\xff\xff\xff\x0b", "cut": "\x00\x00\x00\x05\x0b",
	} {
		if _, err := readMessage(strings.NewReader(text)); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	ed, _ := newKeys(t)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, tt := range map[string]struct {
		paths []string
		hint  string
	}{
		"missing":        {[]string{"/nowhere"}, ""},
		"no key":         {[]string{text}, ""},
		"nothing":        {nil, ""},
		"socket and key": {[]string{socket, writeKey(t, ed, "")}, ""},
		"encrypted":      {[]string{writeKey(t, ed, "secret")}, "ssh-add"},
	} {
		_, err := Open(map[string][]string{"x": tt.paths})
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(e.Hint(), tt.hint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var none *Agents
	if none.Has("x") {
		t.Error("no agents have one")
	}
}
