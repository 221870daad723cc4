// Command bench times trowel against BuildKit and buildah: cold, with the base pulled from and the image pushed to a
// registry on loopback, in turn in one run. It needs root on a Debian machine and brings the rest itself.
//
//	go run ./bench -rounds 3 -json figures.json
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
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/bench/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program; it returns its exit code.
func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	if len(arguments) > 1 && arguments[0] == measureVerb {
		return measureChild(arguments[1:], stderr)
	}
	options, err := parse(arguments, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: error: %v\n", err)
		return 2
	}
	if err := bench(ctx, options, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "bench: error: %v\n", err)
		return 1
	}
	return 0
}

// options are the flags.
type options struct {
	work     string
	rounds   int
	cases    []string
	builders []string
	trowel   string
	json     string
}

func parse(arguments []string, stderr io.Writer) (options, error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var o options
	var cases, builders string
	flags.StringVar(&o.work, "work", "", "keep what is downloaded and compiled in this `directory` (default: trowel-bench in the user's cache)")
	flags.IntVar(&o.rounds, "rounds", 3, "time every case `n` times; the median counts")
	flags.StringVar(&cases, "cases", strings.Join(caseNames(), ","), "run these `cases`")
	flags.StringVar(&builders, "builders", strings.Join(builderNames, ","), "time these `builders`")
	flags.StringVar(&o.trowel, "trowel", "", "time this `binary` (default: compiled from ./cmd/trowel)")
	flags.StringVar(&o.json, "json", "", "write the figures to this `file` as well")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.rounds < 1 {
		return o, fmt.Errorf("-rounds %d: at least one is needed", o.rounds)
	}
	o.cases, o.builders = strings.Split(cases, ","), strings.Split(builders, ",")
	for _, set := range []struct{ given, known []string }{{o.cases, caseNames()}, {o.builders, knownBuilders()}} {
		for _, name := range set.given {
			if !slices.Contains(set.known, name) {
				return o, fmt.Errorf("unknown name %q: use some of %s", name, strings.Join(set.known, ","))
			}
		}
	}
	if o.work == "" {
		dir, err := lab.DefaultDir()
		if err != nil {
			return o, err
		}
		o.work = dir
	}
	return o, nil
}

// bench sets up, runs the rounds and reports.
func bench(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	l, err := lab.Open(o.work, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	registry, err := l.StartRegistry(ctx)
	if err != nil {
		return err
	}
	if err := l.PushBase(ctx, registry); err != nil {
		return err
	}
	builders, err := openBuilders(ctx, l, registry, o)
	if err != nil {
		return err
	}
	dir, err := l.Dir("contexts")
	if err != nil {
		return err
	}
	if err := makeContexts(ctx, dir, registry.Address); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(o.work, "logs", "builds.log"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	r := runner{dir: dir, registry: registry.Address, builders: builders, log: log, progress: stderr}
	figures, err := r.run(ctx, o)
	if err != nil {
		return fmt.Errorf("%w\nthe log of all builds is %q", err, log.Name())
	}
	figures.print(stdout)
	if o.json == "" {
		return nil
	}
	return figures.save(o.json)
}
