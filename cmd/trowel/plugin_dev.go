package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host/plugin/author"
	"github.com/trowel-build/trowel/host/plugin/lock"
)

func (p program) pluginDevCommand() *cobra.Command {
	f := &pluginFlags{}
	d := &development{}
	cmd := &cobra.Command{
		Use:   "dev [flags] DIR -- build ARGUMENTS...",
		Short: "Build a plugin and run a build with it, again whenever a source changes",
		Long: `Build a plugin and run a build with it, again whenever a source of the plugin changes. What trowel.toml grants and
configures holds; if it does not name the plugin, the plugin has no grants and no configuration. The plugin is not looked up in
trowel.lock, and trowel.lock stays as it is.`,
		Example: `  trowel plugin dev ./greet -- build --no-cache -o type=local,dest=out .`,
		Args: func(cmd *cobra.Command, args []string) error {
			if at := cmd.ArgsLenAtDash(); at != 1 || len(args) < 2 || args[1] != "build" {
				return usageError{errors.New("trowel plugin dev takes the plugin's directory and, after --, a build: trowel plugin dev DIR -- build ARGUMENTS")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			project, err := author.OpenProject(args[0])
			if err != nil {
				return usageError{err}
			}
			dir, err := os.MkdirTemp("", "trowel-dev-")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			d.program, d.project, d.dir, d.build = p, project, dir, args[1:]
			if err := d.prepare(f); err != nil {
				return err
			}
			return d.loop(cmd.Context())
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().BoolVar(&d.once, "once", false, "do it once, and end")
	return cmd
}

// development is a plugin that is being written, and the build that it is tried in.
type development struct {
	program
	project *author.Project
	dir     string // for what is made
	build   []string
	once    bool // and no more
}

// prepare makes the lock file and, if trowel.toml does not name the plugin, the configuration that the build is run with.
func (d *development) prepare(f *pluginFlags) error {
	settings, err := d.loadConfig(&f.buildFlags)
	if err != nil {
		return usageError{err}
	}
	artifact, err := filepath.Abs(d.project.Artifact(author.Wasm))
	if err != nil {
		return err
	}
	locked, err := lock.Read(first(f.lock, d.getenv("TROWEL_LOCK"), lock.FileName))
	if err != nil {
		return adviseOn(err)
	}
	known := ""
	for name, spec := range settings.Plugins {
		file, isFile := strings.CutPrefix(spec.Source, "file:")
		if !filepath.IsAbs(file) {
			file = filepath.Join(spec.Dir, file)
		}
		if file, err = filepath.Abs(file); err != nil {
			return err
		}
		if isFile && file == artifact {
			known = name
		}
	}
	locked.Plugins = maps.Clone(locked.Plugins)
	delete(locked.Plugins, known)
	if _, err := locked.Write(filepath.Join(d.dir, lock.FileName)); err != nil {
		return err
	}
	if known != "" {
		return nil
	}
	if spec, taken := settings.Plugins[d.project.Name]; taken {
		return hinted{
			fmt.Errorf("trowel.toml has the plugin %q from %q", d.project.Name, spec.Source),
			"to try the one that you write, set its source to " + strconv.Quote("file:"+artifact),
		}
	}
	text := fmt.Sprintf("[plugins.%s]\nkind = %q\nsource = %q\n", d.project.Name, d.project.Kind, "file:"+artifact)
	config := filepath.Join(d.dir, "trowel.toml")
	d.build = append([]string{d.build[0], "--config=" + config}, d.build[1:]...)
	return os.WriteFile(config, []byte(text), 0o600)
}

// loop builds the plugin and runs the build, again and again.
func (d *development) loop(ctx context.Context) error {
	for {
		watch, err := author.NewWatch(d.project)
		if err != nil {
			return err
		}
		err = d.turn(ctx)
		if d.once || ctx.Err() != nil {
			return err
		}
		if err != nil {
			d.printError(ctx, adviseOn(err))
		}
		fmt.Fprintf(d.stderr, "waiting for a change in %s\n", d.project.Dir)
		changed, err := watch.Wait(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(d.stderr, "%s changed\n", oneLine(changed))
		if again, err := author.OpenProject(d.project.Dir); err == nil {
			d.project = again
		} else {
			d.printError(ctx, err)
		}
	}
}

func (d *development) turn(ctx context.Context) error {
	fmt.Fprintf(d.stderr, "*** DEVELOPMENT: plugin %q from %s, not from trowel.lock: do not publish what this builds ***\n", d.project.Name, d.project.Dir)
	built, err := author.Build(ctx, author.BuildRequest{Project: d.project, Target: author.Wasm, Log: d.stderr})
	if err != nil {
		return adviseOn(err)
	}
	fmt.Fprintf(d.stderr, "built %s, %d bytes\n", filepath.Base(built.File), built.Size)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, d.build...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), "TROWEL_LOCK="+filepath.Join(d.dir, lock.FileName))
	cmd.Stdout, cmd.Stderr = d.stdout, d.stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the build with plugin %q: %w", d.project.Name, err)
	}
	return nil
}
