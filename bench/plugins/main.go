// Command plugins measures what plugins cost: see README.md.
//
//	go run ./bench/plugins
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/bench/lab"
	"github.com/trowel-build/trowel/host"
)

func main() {
	launcher := host.NewLauncher() // first: the build that is measured has processes
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := run(ctx, launcher, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "plugins: error: %v\n", err)
		os.Exit(1)
	}
}

// bench is a run of the measurements.
type bench struct {
	launcher *host.Launcher
	root     string // of the source tree
	dir      string
	plugins  []*subject
	report   *report
}

// measurement is a part of the report.
type measurement struct {
	name string
	do   func(*bench, context.Context) error
}

func measurements() []measurement {
	return []measurement{
		{"size", (*bench).sizes},
		{"start", (*bench).starts},
		{"calls", (*bench).calls},
		{"transfer", (*bench).transfers},
		{"memory", (*bench).memory},
		{"build", (*bench).build},
	}
}

func run(ctx context.Context, launcher *host.Launcher, args []string, stdout io.Writer) (err error) {
	var names []string
	for _, m := range measurements() {
		names = append(names, m.name)
	}
	flags := flag.NewFlagSet("plugins", flag.ContinueOnError)
	only := flags.String("only", strings.Join(names, ","), "measure these `parts`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted := strings.Split(*only, ",")
	for _, name := range wanted {
		if !slices.Contains(names, name) {
			return fmt.Errorf("-only %q: want some of %s", name, strings.Join(names, ","))
		}
	}
	b := &bench{launcher: launcher, report: &report{to: stdout}}
	if b.root, err = lab.SourceRoot(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("/tmp", "plugins"); err != nil { // sockets have short paths
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	fmt.Fprintf(stdout, "%s/%s, %d processors, %s\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	if b.plugins, err = b.compileGreetings(ctx); err != nil {
		return err
	}
	for _, m := range measurements() {
		if !slices.Contains(wanted, m.name) {
			continue
		}
		if err := m.do(b, ctx); err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
		if err := b.report.flush(); err != nil {
			return err
		}
	}
	return nil
}

// sizes has the hello-world plugins: the same instruction in each language.
func (b *bench) sizes(context.Context) error {
	b.report.table("size of a hello-world plugin", "plugin", "bytes", "target")
	for _, s := range b.plugins {
		target := ""
		if s.name == "Go, wasm" {
			target = "≤ 2 MB"
		}
		b.report.row(s.name, s.orMissing(func() string { return fmt.Sprintf("%.3f MB", float64(len(s.program))/1e6) }), target)
	}
	return nil
}

// newDir makes an empty directory.
func (b *bench) newDir(name string) (string, error) { return os.MkdirTemp(b.dir, filepath.Base(name)) }
