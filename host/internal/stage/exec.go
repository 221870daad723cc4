package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/identity"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/snapshot"
)

// The mount targets that every process has.
var standardTargets = []rootfs.Target{
	{Path: "/proc", Type: filetree.Directory},
	{Path: "/sys", Type: filetree.Directory},
	{Path: "/dev", Type: filetree.Directory},
	{Path: "/etc/resolv.conf", Type: filetree.Regular},
	{Path: "/etc/hosts", Type: filetree.Regular},
}

// exec runs a process on the stage's layers and makes a layer of what it changed.
func (b *builder) exec(ctx context.Context, st *step, x effect.Exec) error {
	changes, keep, err := b.process(ctx, st, x)
	if err != nil {
		return err
	}
	l, err := b.commit(ctx, st, changes, func() error { return nil })
	if err != nil {
		return err
	}
	keep(l)
	return nil
}

// keepFunc is told which layer was made of what a process changed: the process's files on disk are that layer's.
type keepFunc func(*Layer)

// process runs a process on the stage's layers and finds out what it changed.
func (b *builder) process(ctx context.Context, st *step, x effect.Exec) ([]filetree.Change, keepFunc, error) {
	if b.engine.plain() {
		return b.processPlain(ctx, st, x)
	}
	e := b.engine
	recorded := map[string]identity.Owner{}
	root, err := b.start(ctx, st, x, recorded)
	if err != nil {
		return nil, nil, err
	}
	// The layer below was written while the process ran; what it says of its files is what they are compared with.
	tree, err := b.settled(ctx)
	if err != nil {
		return nil, nil, err
	}
	opts := e.snapshots()
	opts.Recorded = recorded
	changes, err := snapshot.Upper(ctx, root.Upper, tree, opts)
	keep := func(l *Layer) {
		l.upper = filepath.Base(root.Upper)
		e.background.Go(func() error { return os.RemoveAll(root.Work) })
	}
	return changes, keep, err
}

// start runs a process to its end. recorded takes the owners that the process gave where the kernel does not have them.
func (b *builder) start(ctx context.Context, st *step, x effect.Exec, recorded map[string]identity.Owner) (root executor.Rootfs, err error) {
	shown, err := b.materialise(ctx, x.Mounts)
	defer func() { err = errors.Join(err, shown.release()) }()
	if err != nil {
		return root, err
	}
	root, targets, err := b.rootfs(ctx, shown.targets)
	if err != nil {
		return root, err
	}
	p, err := b.describe(ctx, st, x, shown, targets)
	if err != nil {
		return root, err
	}
	p.Recorded = func(path string, owner identity.Owner) { recorded[path] = owner }
	return root, explainExit(x, b.engine.Launcher.Run(ctx, root, p))
}

// describe says how a process runs. targets are those of its mounts.
func (b *builder) describe(ctx context.Context, st *step, x effect.Exec, shown *mounted, targets []string) (executor.Process, error) {
	e := b.engine
	view, err := b.current(ctx)
	if err != nil {
		return executor.Process{}, err
	}
	user, err := rootfs.LookupUser(ctx, view, x.User)
	if err != nil {
		return executor.Process{}, err
	}
	out := e.output(st)
	return executor.Process{
		Args: x.Args, Env: environment(x, shown.env, user.Home), Dir: x.Dir,
		User:    executor.User{UID: user.UID, GID: user.GID, Groups: user.Groups},
		Network: network(x.Network), Privileges: privileges(x.Security), Hostname: e.Run.Hostname,
		Mounts: append(scripts(x.Scripts), shown.at(targets)...), ResolvConf: e.Run.ResolvConf, Hosts: []byte(x.Hosts),
		Limits: limits(x.Limits), ShmSize: x.ShmSize,
		Stdout: out("stdout"), Stderr: out("stderr"), Notice: e.warn,
	}, nil
}

// explainExit names the command that failed.
func explainExit(x effect.Exec, err error) error {
	if exit, ok := errors.AsType[*executor.ExitError](err); ok {
		return fmt.Errorf("%s: %w", strings.Join(x.Args, " "), exit)
	}
	return err
}

// rootfs makes the stage's layers real, with an empty directory on top for what a process changes, and the places that
// something will be mounted on. Those of the targets come back as they were resolved.
func (b *builder) rootfs(ctx context.Context, targets []rootfs.Target) (executor.Rootfs, []string, error) {
	e := b.engine
	root := executor.Rootfs{LayersDir: e.Dir}
	names, err := b.lowers(ctx)
	if err != nil {
		return root, nil, err
	}
	view, err := b.current(ctx)
	if err != nil {
		return root, nil, err
	}
	if err := e.makePlaces(&root.Upper, &root.Work, &root.Merged); err != nil {
		return root, nil, err
	}
	if err := rootfs.MakeUpper(root.Upper, view, e.trees()); err != nil {
		return root, nil, err
	}
	if view, err = rootfs.MakeKernelDirs(root.Upper, view, e.Created, e.trees()); err != nil {
		return root, nil, err
	}
	stub := e.place()
	if err := os.Mkdir(filepath.Join(e.Dir, stub), 0o755); err != nil {
		return root, nil, err
	}
	stubs, err := rootfs.MakeStubs(filepath.Join(e.Dir, stub), view, append(slices.Clone(standardTargets), targets...), e.trees())
	if err != nil {
		return root, nil, err
	}
	if root.Lowers = names; stubs.Made || len(names) == 0 {
		root.Lowers = append([]string{stub}, names...)
	}
	return root, stubs.Targets[len(standardTargets):], nil
}

// lowers are the directories of the stage's layers, topmost first.
func (b *builder) lowers(ctx context.Context) ([]string, error) {
	names, err := b.directories(ctx)
	if err != nil {
		return nil, err
	}
	if len(names) > rootfs.MaxLowers {
		if names, err = b.engine.flatten(ctx, names); err != nil {
			return nil, err
		}
		b.dirs = slices.Clone(names)
	}
	names = slices.Clone(names)
	slices.Reverse(names)
	return names, nil
}

// makePlaces makes empty directories.
func (e *Engine) makePlaces(paths ...*string) error {
	for _, at := range paths {
		*at = filepath.Join(e.Dir, e.place())
		if err := os.Mkdir(*at, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// flatten merges the lowest directories of a very long stage into one, so that overlayfs can stack them.
func (e *Engine) flatten(ctx context.Context, names []string) ([]string, error) {
	cut := len(names) - rootfs.MaxLowers/2
	lowers := make([]string, 0, cut)
	for _, n := range slices.Backward(names[:cut]) {
		lowers = append(lowers, filepath.Join(e.Dir, n))
	}
	name := e.place()
	dir := filepath.Join(e.Dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := rootfs.Flatten(ctx, dir, lowers, e.form); err != nil {
		return nil, err
	}
	return append([]string{name}, names[cut:]...), nil
}

// environment is what a process sees. HOME comes from the user's passwd entry, as runc has it, where the image sets none.
func environment(x effect.Exec, secrets []string, home string) []string {
	var env []string
	at := map[string]int{}
	for _, kv := range slices.Concat(x.Env, x.Unkeyed, secrets) {
		name, _, _ := strings.Cut(kv, "=")
		if i, ok := at[name]; ok {
			env[i] = kv // most programs take the first of two, and the last is meant
			continue
		}
		at[name] = len(env)
		env = append(env, kv)
	}
	if _, ok := at["HOME"]; !ok {
		env = append(env, "HOME="+home)
	}
	return env
}

func network(n effect.Network) executor.Network {
	if n == effect.NetworkNone {
		return executor.NetworkNone
	}
	return executor.NetworkHost
}

func privileges(s effect.Security) executor.Privileges {
	if s == effect.SecurityInsecure {
		return executor.PrivilegesBuilder
	}
	return executor.PrivilegesContainer
}

func limits(all []effect.Limit) []executor.Limit {
	var out []executor.Limit
	for _, l := range all {
		out = append(out, executor.Limit(l))
	}
	return out
}

// scripts are a process's heredocs as mounts.
func scripts(files []effect.File) []executor.Mount {
	var mounts []executor.Mount
	for _, f := range files {
		mounts = append(mounts, executor.Mount{
			Kind: executor.MountFile, Target: "/dev/pipes/" + f.Name, Content: []byte(f.Content), Mode: 0o755, ReadOnly: true,
		})
	}
	return mounts
}

// output makes the writers that show what a step's process says.
func (e *Engine) output(st *step) func(stream string) stepOutput {
	return func(stream string) stepOutput { return stepOutput{e, st.id, stream} }
}

type stepOutput struct {
	engine     *Engine
	id, stream string
}

// Write reports p.
func (o stepOutput) Write(p []byte) (int, error) {
	o.engine.Progress.Report(progress.Event{Time: time.Now(), Kind: progress.KindOutput, ID: o.id, Stream: o.stream, Output: p})
	return len(p), nil
}
