// Package helper asks the docker-credential-NAME programs that Docker and its users have, by their protocol: the
// server's address goes in, a JSON object with user name and secret comes out.
//
// A helper runs only when a registry demands a credential, with a deadline, and what it writes never enters an error:
// it could be the secret.
package helper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const (
	// defaultTimeout is generous, for some helpers ask a cloud's service.
	defaultTimeout = 60 * time.Second
	// maxAnswer caps what a helper may write.
	maxAnswer = 1 << 20
	// dockerHubKey is what Docker calls its own registry in helpers and configuration files.
	dockerHubKey = "https://index.docker.io/v1/"
	// identityUser is the user name that marks a secret as an identity token.
	identityUser = "<token>"
)

// Config says which program to run, and how.
type Config struct {
	Name        string        // of the program docker-credential-NAME
	Environment []string      // of the program, as os.Environ gives it; its PATH is also where the program is sought
	Timeout     time.Duration // 0 means 60 s
}

// Provider asks one credential helper.
type Provider struct {
	program     string
	environment []string
	timeout     time.Duration
}

// New returns a provider. The program is sought when it is needed.
func New(config Config) (*Provider, error) {
	if config.Name == "" || strings.ContainsAny(config.Name, "/\x00") {
		return nil, fmt.Errorf("credential helper %q must be the NAME of a program docker-credential-NAME", config.Name)
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	return &Provider{program: "docker-credential-" + config.Name, environment: config.Environment, timeout: config.Timeout}, nil
}

// Credential asks the helper about the request's registry.
func (p *Provider) Credential(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	server := request.Registry
	if server == "docker.io" {
		server = dockerHubKey
	}
	return p.Get(ctx, server)
}

// Get asks the helper about a server, by the name that the helper knows it by. The error wraps [sdk.ErrNotMine] if the
// helper has no credential for it.
func (p *Provider) Get(ctx context.Context, server string) (sdk.Credential, error) {
	answer, err := p.run(ctx, server, "get", server)
	if err != nil {
		return sdk.Credential{}, err
	}
	return p.parse(server, answer)
}

// Store gives the helper a credential to keep.
func (p *Provider) Store(ctx context.Context, server, user, secret string) error {
	text, err := json.Marshal(struct{ ServerURL, Username, Secret string }{server, user, secret})
	if err != nil {
		return err
	}
	_, err = p.run(ctx, server, "store", string(text))
	return err
}

// Installed says whether the program is there.
func (p *Provider) Installed() bool {
	_, err := p.find()
	return err == nil
}

// run runs the program for a server, with an action of the protocol and what goes in.
func (p *Provider) run(ctx context.Context, server, action, in string) (*limitedBuffer, error) {
	path, err := p.find()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, action)
	cmd.Env = p.environment
	cmd.Stdin = strings.NewReader(in)
	answer := &limitedBuffer{limit: maxAnswer}
	cmd.Stdout = answer
	cmd.WaitDelay = 2 * time.Second
	// A helper is often a script; what it started must end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Run(); err != nil {
		return nil, p.failure(ctx, server, answer, err)
	}
	return answer, nil
}

// failure says why a helper gave no answer.
func (p *Provider) failure(ctx context.Context, server string, answer *limitedBuffer, err error) error {
	if notFound(answer.held) {
		return fmt.Errorf("credential helper %q has nothing for %q: %w", p.program, server, sdk.ErrNotMine)
	}
	switch cause := ctx.Err(); {
	case errors.Is(cause, context.DeadlineExceeded):
		return fmt.Errorf("run credential helper %q for %q: no answer within %s", p.program, server, p.timeout)
	case cause != nil:
		return fmt.Errorf("run credential helper %q for %q: %w", p.program, server, cause)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("run credential helper %q for %q: %s (run \"echo %s | %s get\" to see why)", p.program, server, exit.ProcessState, server, p.program)
	}
	return fmt.Errorf("run credential helper %q for %q: %w", p.program, server, err)
}

// notFound recognises how helpers say that they have nothing: the protocol has no other sign than these words.
func notFound(answer []byte) bool {
	text := strings.ToLower(string(bytes.TrimSpace(answer)))
	return strings.HasPrefix(text, "credentials not found")
}

// parse reads a helper's answer.
func (p *Provider) parse(server string, answer *limitedBuffer) (sdk.Credential, error) {
	var reply struct {
		Username string
		Secret   string
	}
	if answer.overflowed {
		return sdk.Credential{}, fmt.Errorf("run credential helper %q for %q: it wrote more than %d bytes", p.program, server, maxAnswer)
	}
	if json.Unmarshal(answer.held, &reply) != nil { // the error would quote the answer
		return sdk.Credential{}, fmt.Errorf("run credential helper %q for %q: it wrote something other than the JSON of the protocol", p.program, server)
	}
	switch {
	case reply.Username == "" && reply.Secret == "":
		return sdk.Credential{}, fmt.Errorf("credential helper %q has nothing for %q: %w", p.program, server, sdk.ErrNotMine)
	case reply.Username == identityUser:
		return sdk.Credential{Kind: sdk.KindIdentity, Secret: reply.Secret}, nil
	}
	return sdk.Credential{Kind: sdk.KindBasic, Username: reply.Username, Secret: reply.Secret}, nil
}

// find seeks the program on the PATH of its environment. Relative directories do not count: the working directory may
// hold what others wrote.
func (p *Provider) find() (string, error) {
	search := ""
	for _, variable := range p.environment {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			search = value
		}
	}
	for _, dir := range filepath.SplitList(search) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, p.program)
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, fs.ErrPermission) {
			return "", fmt.Errorf("find credential helper %q: %w", p.program, err)
		}
	}
	return "", fmt.Errorf("find credential helper %q: no such program on PATH; install it, or take it out of the configuration", p.program)
}

// limitedBuffer keeps what is written up to a limit, and takes note of there being more.
type limitedBuffer struct {
	held       []byte
	limit      int
	overflowed bool
}

// Write keeps what fits and accepts the rest, so that the program can end by itself.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	room := b.limit - len(b.held)
	if len(p) > room {
		b.overflowed = true
	}
	b.held = append(b.held, p[:min(len(p), room)]...)
	return len(p), nil
}

var _ sdk.CredentialProvider = (*Provider)(nil)
