package lower

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
)

const (
	secretsDir    = "/run/secrets"
	agentSocket   = "/run/buildkit/ssh_agent" // and its number in the step
	agentVariable = "SSH_AUTH_SOCK"
	defaultAgent  = "default"
)

// mounts lowers the --mount flags of RUN. What a process sees of them beside files is added to its environment.
func (l *lowering) mounts(c *dockerfile.Run, exec *effect.Exec) error {
	mounts, err := dockerfile.ExpandMounts(c, l.word)
	if err != nil {
		return l.failMount(err, "")
	}
	agents := 0
	for _, m := range mounts {
		x, err := l.mount(m)
		if err != nil {
			return err
		}
		if x.Kind == effect.MountSSH {
			if x.Target == "" {
				x.Target = fmt.Sprintf("%s.%d", agentSocket, agents)
			}
			// As BuildKit: of several the first, and a variable that is set already stays.
			if !hasEnv(exec.Env, agentVariable) {
				exec.Env = append(exec.Env, agentVariable+"="+x.Target)
			}
			agents++
		}
		exec.Mounts = append(exec.Mounts, x)
	}
	return nil
}

// failMount is an error about a --mount flag; word is what of it is wrong, if that is known.
func (l *lowering) failMount(err error, word string) error {
	if e, ok := errors.AsType[*dockerfile.Error](err); ok {
		return e
	}
	if word == "" {
		word = "--mount"
	}
	return l.fail(word, fmt.Errorf("--mount: %w", err), "")
}

func (l *lowering) mount(m *dockerfile.Mount) (effect.Mount, error) {
	x := effect.Mount{Kind: effect.MountKind(m.Type), ID: m.CacheID, Size: m.SizeLimit, UID: number(m.UID, 0), GID: number(m.GID, 0)}
	if !m.ReadOnly {
		x.Access = effect.ReadWrite
	}
	if m.Required {
		x.Need = effect.Required
	}
	var err error
	switch x.Kind {
	case effect.MountSecret:
		err = l.secretMount(m, &x)
	case effect.MountSSH:
		err = l.sshMount(m, &x)
	default:
		err = l.filesMount(m, &x)
	}
	if err == nil && x.Mode > 0o7777 {
		err = fmt.Errorf("mode=%o is not an octal mode up to 07777", x.Mode)
	}
	if err != nil {
		return x, l.failMount(err, m.Target)
	}
	if x.Target == "" {
		return x, nil
	}
	if !path.IsAbs(x.Target) {
		x.Target = path.Join(l.dir(), x.Target)
	}
	x.Target = path.Clean(x.Target)
	if x.Target == "/" {
		return x, l.failMount(errors.New("nothing can be mounted on the root directory: name a target below it"), m.Target)
	}
	return x, nil
}

func number(n *uint64, fallback int64) int64 {
	if n == nil {
		return fallback
	}
	return int64(*n) // at most 32 bits
}

// filesMount lowers a mount of type bind, cache or tmpfs.
func (l *lowering) filesMount(m *dockerfile.Mount, x *effect.Mount) error {
	if x.Target = m.Target; x.Target == "" {
		x.Target = "." // the working directory
	}
	if x.Kind == effect.MountTmpfs {
		if m.From != "" || m.Source != "" {
			return errors.New("a mount of type tmpfs is empty: it has neither from nor source")
		}
		return nil
	}
	x.Source = path.Join(".", path.Join("/", m.Source)[1:])
	switch {
	case m.From != "":
		from, ok := l.stage.Sources[m.From]
		if !ok {
			return fmt.Errorf("from=%s was not planned", m.From)
		}
		x.From = from
	case x.Kind == effect.MountBind:
		x.From = effect.Location{Context: effect.MainContext}
	}
	if x.Kind == effect.MountCache {
		l.cacheMount(m, x)
	}
	return nil
}

// cacheMount names the cache: its ID, the cleaned target where none is given, in the namespace of BUILDKIT_CACHE_MOUNT_NS.
func (l *lowering) cacheMount(m *dockerfile.Mount, x *effect.Mount) {
	if x.ID == "" {
		x.ID = path.Clean(m.Target)
	}
	x.ID = l.plan.BuildArgs["BUILDKIT_CACHE_MOUNT_NS"] + "/" + x.ID
	if x.Mode = number(m.Mode, 0o755); x.ReadsFiles() && m.Mode == nil && m.UID == nil && m.GID == nil {
		x.Mode = effect.AsSource
	}
	if x.Sharing = effect.Sharing(m.CacheSharing); x.Sharing == "" {
		x.Sharing = effect.SharingShared
	}
}

// secretMount lowers a mount of type secret.
func (l *lowering) secretMount(m *dockerfile.Mount, x *effect.Mount) error {
	x.Mode = number(m.Mode, 0o400)
	if m.Source != "" {
		x.ID = m.Source
	}
	if x.ID == "" {
		x.ID = path.Base(m.Target)
	}
	x.Target = m.Target
	if m.Env == nil {
		if x.Target == "" {
			x.Target = path.Join(secretsDir, path.Base(x.ID))
		}
		return nil
	}
	if x.Env = *m.Env; x.Env == "" || strings.ContainsAny(x.Env, "=\x00") {
		return fmt.Errorf("env=%s is no name of a variable", x.Env)
	}
	return nil
}

// sshMount lowers a mount of type ssh.
func (l *lowering) sshMount(m *dockerfile.Mount, x *effect.Mount) error {
	if m.Source != "" {
		return errors.New("a mount of type ssh has no source: name the agent with id")
	}
	if m.From != "" {
		return errors.New("a mount of type ssh has no from")
	}
	if x.ID == "" {
		x.ID = defaultAgent
	}
	x.Mode, x.Target = number(m.Mode, 0o600), m.Target
	return nil
}
