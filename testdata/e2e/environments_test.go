//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/trowel-build/trowel/bench/lab"
)

// environment is where Trowel is run: in a container of its own image, or on this machine.
type environment struct {
	name   string
	docker []string // arguments of docker run; nil on this machine
	here   []string // what starts the program there
	pod    bool     // there, as root of a user namespace with a range of IDs
}

// workshop is what the environments need.
type workshop struct {
	docker *lab.Docker
	image  string // the reference of Trowel's image
	binary string // of this machine
	dir    string // scratch that everybody may write
}

// command is a build in the environment of the context in dir, to be pushed as reference. In a container it is what a job that
// was made for kaniko has.
func (e environment) command(ctx context.Context, w workshop, dir, reference string) *exec.Cmd {
	if e.docker != nil {
		words := []string{"run", "--rm", "--network=host", "-v", dir + ":/workspace:ro"}
		for _, word := range e.docker {
			words = append(words, strings.ReplaceAll(word, "@VOLUME@", filepath.Join(w.dir, e.name)))
		}
		words = append(words, w.image, "--context=dir:///workspace", "--destination="+reference)
		return w.docker.Command(ctx, words...)
	}
	words := slices.Concat(e.here, []string{w.binary, "build", "--progress=plain", "--push", "-t", reference, "--cache-dir", filepath.Join(w.dir, e.name)})
	cmd := exec.CommandContext(ctx, words[0], slices.Concat(words[1:], []string{dir})...)
	cmd.Dir = "/"
	if e.pod {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{},
		}
		cmd.Env = append(os.Environ(), "HOME=/")
	}
	return cmd
}
