package git

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/trowel-build/trowel/host/internal/progress"
)

// defaultAgent is the agent that git may ask, as with docker build.
const defaultAgent = "default"

// ssh is the command for ssh, and what ends the agent that it may ask. It reads no configuration of the user, asks nothing,
// and shows no key but those that the build was given. An unknown host is taken at its word and a known one held to it.
func (c *Client) ssh(ctx context.Context, home string, r run) (command string, stop func() error, err error) {
	agent, stop := "none", func() error { return nil }
	if r.remote != nil && r.remote.protocol == "ssh" && c.Agents.Has(defaultAgent) {
		if agent, stop, err = c.serveAgent(ctx); err != nil {
			return "", nil, err
		}
	}
	words := []string{"ssh", "-F", "/dev/null"}
	for _, option := range []string{
		"BatchMode=yes", "ConnectTimeout=30", "ServerAliveInterval=30", "ServerAliveCountMax=4", "StrictHostKeyChecking=accept-new",
		"UserKnownHostsFile=" + sshWord(filepath.Join(home, "known_hosts")) + " ~/.ssh/known_hosts", "ForwardAgent=no", "PermitLocalCommand=no",
		"IdentityFile=/dev/null", "IdentityAgent=" + sshWord(agent),
	} {
		words = append(words, "-o", "'"+strings.ReplaceAll(option, "'", `'\''`)+"'")
	}
	return strings.Join(words, " "), stop, nil
}

// sshWord writes a path, or none, as one word of an option of ssh, which splits at spaces and replaces what begins with "%".
func sshWord(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(path) + `"`
}

// serveAgent serves the agent on a socket of its own. Its path is short, since a socket's has to be.
func (c *Client) serveAgent(ctx context.Context) (socket string, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "trowel-ssh-")
	if err != nil {
		return "", nil, err
	}
	socket = filepath.Join(dir, "agent")
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	end := c.Agents.Serve(ctx, defaultAgent, listener, func(err error) {
		c.Progress.Report(progress.Event{Kind: progress.KindMessage, Level: "warning", Text: err.Error()})
	})
	return socket, func() error { return errors.Join(end(), os.RemoveAll(dir)) }, nil
}
