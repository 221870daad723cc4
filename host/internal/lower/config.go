package lower

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/image"
)

// workdir lowers WORKDIR. It makes a layer even if the directory is there, but none for "/".
func (l *lowering) workdir(c *dockerfile.Workdir, step *Step) error {
	dir, err := l.word(c.Path)
	if err != nil {
		return err
	}
	l.checkWorkdir(dir)
	switch {
	case dir == "":
		dir = l.dir()
	case !path.IsAbs(dir):
		dir = path.Join(l.dir(), dir)
	}
	if dir != "/" {
		step.Name = l.numbered(l.expandedTitle())
		step.Effects = append(step.Effects, effect.Mkdir{Path: path.Clean(dir), User: l.config.User})
		step.Layer = OneLayer
	}
	l.config.WorkingDir = dir // as written: BuildKit does not clean an absolute path, and this shows in the image
	step.Effects = append(step.Effects, set("WorkingDir", dir))
	step.CreatedBy = "WORKDIR " + dir
	return nil
}

// user lowers USER, which stays as written: only RUN and WORKDIR look it up.
func (l *lowering) user(c *dockerfile.User, step *Step) error {
	user, err := l.word(c.User)
	if err != nil {
		return err
	}
	l.config.User = user
	step.Effects = []effect.Effect{set("User", user)}
	step.CreatedBy = "USER " + user
	return nil
}

func (l *lowering) maintainer(c *dockerfile.Maintainer, step *Step) error {
	l.author = c.Maintainer
	step.Effects = []effect.Effect{set("Author", c.Maintainer)}
	step.CreatedBy = "MAINTAINER " + c.Maintainer
	return nil
}

func (l *lowering) shell(c *dockerfile.Shell, step *Step) error {
	l.config.Shell = c.Shell
	step.Effects = []effect.Effect{set("Shell", c.Shell)}
	step.CreatedBy = fmt.Sprintf("SHELL %v", c.Shell)
	return nil
}

// cmd lowers CMD.
func (l *lowering) cmd(c *dockerfile.Cmd, step *Step) error {
	l.checkOnce(c, "CMD")
	l.checkForm(c, c.ShellDependantCmdLine)
	l.config.Cmd = l.execOrShell(c.ShellDependantCmdLine)
	l.config.ArgsEscaped = true // BuildKit sets it, whatever the system
	step.Effects = []effect.Effect{set("Cmd", l.config.Cmd), set("ArgsEscaped", true)}
	step.CreatedBy = fmt.Sprintf("CMD %q", l.config.Cmd)
	return nil
}

// entrypoint lowers ENTRYPOINT. It resets a CMD that this stage did not set.
func (l *lowering) entrypoint(c *dockerfile.Entrypoint, step *Step) error {
	l.checkOnce(c, "ENTRYPOINT")
	l.checkForm(c, c.ShellDependantCmdLine)
	l.config.Entrypoint = l.execOrShell(c.ShellDependantCmdLine)
	step.Effects = []effect.Effect{set("Entrypoint", l.config.Entrypoint)}
	if _, ok := l.before["CMD"]; !ok {
		l.config.Cmd = nil
		step.Effects = append(step.Effects, set("Cmd", l.config.Cmd))
	}
	step.CreatedBy = fmt.Sprintf("ENTRYPOINT %q", l.config.Entrypoint)
	return nil
}

// execOrShell is the JSON form as it is, or the shell with the text.
func (l *lowering) execOrShell(c dockerfile.CommandLine) []string {
	if !c.PrependShell {
		return c.CmdLine
	}
	text := ""
	if len(c.CmdLine) > 0 {
		text = c.CmdLine[0] // the shell form is one word
	}
	return l.withShell(text)
}

// volume lowers VOLUME. No directory is made.
func (l *lowering) volume(c *dockerfile.Volume, step *Step) error {
	volumes, err := l.words(c.Volumes)
	if err != nil {
		return err
	}
	l.config.Volumes = cloneMap(l.config.Volumes)
	for i, v := range volumes {
		if v == "" {
			return l.fail(c.Volumes[i], errors.New("the path of a volume is empty"), "")
		}
		l.config.Volumes[v] = struct{}{}
	}
	step.Effects = []effect.Effect{set("Volumes", l.config.Volumes)}
	step.CreatedBy = fmt.Sprintf("VOLUME %v", volumes)
	return nil
}

func (l *lowering) stopSignal(c *dockerfile.StopSignal, step *Step) error {
	signal, err := l.word(c.Signal)
	if err != nil {
		return err
	}
	if !validSignal(signal) {
		return l.fail(c.Signal, fmt.Errorf("unknown signal %q", signal), dockerfile.DidYouMean(signal, signalNames()))
	}
	l.config.StopSignal = signal
	step.Effects = []effect.Effect{set("StopSignal", signal)}
	step.CreatedBy = "STOPSIGNAL " + signal
	return nil
}

// healthcheck lowers HEALTHCHECK. NONE is stored: it takes back that of the base.
func (l *lowering) healthcheck(c *dockerfile.Healthcheck, step *Step) error {
	l.checkOnce(c, "HEALTHCHECK")
	h := image.Healthcheck{
		Test: c.Health.Test, Interval: c.Health.Interval, Timeout: c.Health.Timeout,
		StartPeriod: c.Health.StartPeriod, StartInterval: c.Health.StartInterval, Retries: c.Health.Retries,
	}
	l.setHealthcheck(h, step)
	return nil
}

func (l *lowering) setHealthcheck(h image.Healthcheck, step *Step) {
	l.config.Healthcheck = &h
	step.Effects = append(step.Effects, set("Healthcheck", h))
	step.CreatedBy = fmt.Sprintf("HEALTHCHECK %+v", h)
}

// onbuild lowers ONBUILD, which has no entry in the history.
func (l *lowering) onbuild(c *dockerfile.Onbuild, step *Step) error {
	l.config.OnBuild = append(slices.Clone(l.config.OnBuild), c.Expression)
	step.Effects = []effect.Effect{set("OnBuild", l.config.OnBuild)}
	return nil
}
