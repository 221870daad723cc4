//go:build e2e

package git

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/sshagent"
)

// TestSSH fetches from a real server with a key, with an agent and with neither, and compares with what a clone has. The
// submodule is named relative to the repository.
func TestSSH(t *testing.T) {
	if _, err := exec.LookPath("sshd"); err != nil {
		shell(t, "/", "apt-get update; DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends openssh-server openssh-client")
	}
	dir := t.TempDir()
	shell(t, dir, attributed+"cd ..; git -c protocol.file.allow=always clone -q --recurse-submodules app want")
	want := checkedOut(t, filepath.Join(dir, "want"))
	address := startSSH(t, dir)
	agent := startAgent(t, dir)
	for name, x := range map[string]struct {
		sources map[string][]string
		want    string
	}{
		"key":         {map[string][]string{defaultAgent: {filepath.Join(dir, "mine")}}, ""},
		"agent":       {map[string][]string{defaultAgent: {agent}}, ""},
		"another key": {map[string][]string{defaultAgent: {filepath.Join(dir, "other")}}, "Permission denied"},
		"neither":     {nil, "Permission denied"},
		"other agent": {map[string][]string{"other": {agent}}, "Permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			agents, err := sshagent.Open(x.sources)
			if err != nil {
				t.Fatal(err)
			}
			work := filepath.Join(t.TempDir(), `a 100% "odd" name`) // which ssh would take for several
			t.Setenv("TMPDIR", filepath.Join(work, "tmp"))
			if err := os.MkdirAll(os.TempDir(), 0o700); err != nil {
				t.Fatal(err)
			}
			c := newClient(t, work, nil)
			c.Agents = agents
			got, err := archived(t, c, effect.Git{Remote: address + dir + "/app"})
			if x.want != "" {
				if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Said, x.want) || e.Hint() == "" {
					t.Errorf("%v, want an error with %q and a hint", err, x.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-checked out +fetched):\n%s", diff)
			}
		})
	}
}

// startSSH starts a server that lets in who has the key "mine", and returns its address.
func startSSH(t *testing.T, dir string) string {
	t.Helper()
	shell(t, dir, "for k in host mine other; do ssh-keygen -q -t ed25519 -N '' -f $k; done")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("ListenAddress %s\nHostKey %s/host\nAuthorizedKeysFile %s/mine.pub\nStrictModes no\nUsePAM no\nPidFile none\n", at, dir, dir)
	if err := os.WriteFile(filepath.Join(dir, "sshd_config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // where sshd wants to be confined to
		t.Fatal(err)
	}
	start(t, shell(t, dir, "command -v sshd"), "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	for range 100 {
		if c, err := net.Dial("tcp", at); err == nil {
			c.Close()
			me, err := user.Current()
			if err != nil {
				t.Fatal(err)
			}
			return "ssh://" + me.Username + "@" + at
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("sshd does not listen")
	return ""
}

// startAgent starts an agent that has the key "mine", and returns its socket.
func startAgent(t *testing.T, dir string) string {
	t.Helper()
	socket := filepath.Join(dir, "agent")
	start(t, "ssh-agent", "-D", "-a", socket)
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	shell(t, dir, "SSH_AUTH_SOCK="+socket+" ssh-add -q mine")
	return socket
}

// start runs a program until the test ends.
func start(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}
