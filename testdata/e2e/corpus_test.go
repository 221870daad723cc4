//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/trowel-build/trowel/bench/imagediff"
	"github.com/trowel-build/trowel/bench/lab"
	"github.com/trowel-build/trowel/testdata/boximage"
	"github.com/trowel-build/trowel/testdata/dockerfiles/corpus"
)

var (
	updateFlag = flag.Bool("update", false, "write the golden files of the corpus anew")
	casesFlag  = flag.String("cases", "*", "check the golden files of cases whose names match the `pattern`")
)

// corpusCases are where the corpus is.
const corpusCases = "../dockerfiles/cases"

// TestOracle has BuildKit build each case of the corpus, and holds the golden file beside it to the result: make test compares
// Trowel with these files. Cases are built one after the other, each with an empty cache: a step that is the same in two cases
// would have the time of the first one's, also where nothing is to be taken from the cache.
func TestOracle(t *testing.T) {
	l, err := lab.Open(labDir(t), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	registry, err := l.StartRegistry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	daemon, err := l.StartBuildKit(t.Context(), registry)
	if err != nil {
		t.Fatal(err)
	}
	base, bases := pushBases(t, registry)
	reader, err := corpus.NewReader(base)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := corpus.Load(corpusCases)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if ok, err := filepath.Match(*casesFlag, c.Name); err != nil {
			t.Fatal(err)
		} else if !ok {
			continue
		}
		t.Run(c.Name, func(t *testing.T) { (&oracle{t, daemon, reader}).check(c, bases.For(c)) })
	}
}

// pushBases compiles and pushes the images that cases and random builds start from.
func pushBases(t *testing.T, registry *lab.Registry) (v1.Image, corpus.Bases) {
	t.Helper()
	root, err := lab.SourceRoot()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "sh")
	if err := boximage.Compile(t.Context(), root, program); err != nil {
		t.Fatal(err)
	}
	base, err := boximage.New(program)
	if err != nil {
		t.Fatal(err)
	}
	bases, err := corpus.PushBases(t.Context(), registry.Address, base)
	if err != nil {
		t.Fatal(err)
	}
	return base, bases
}

// oracle is BuildKit, building a case of the corpus.
type oracle struct {
	*testing.T
	daemon *lab.BuildKit
	reader *corpus.Reader
}

func (o *oracle) check(c *corpus.Case, bases corpus.Bases) {
	dir, since := o.TempDir(), time.Now()
	bases, stop := c.Serve(dir, bases)
	defer stop()
	got, err := o.build(c, dir, bases)
	if err != nil {
		o.Fatal(err)
	}
	if (got.Fails != "") != (c.Fails != nil) {
		o.Errorf("the case has the directive fails: %t, and BuildKit fails: %q", c.Fails != nil, got.Fails)
	}
	for _, i := range got.Images {
		i.Faults = slices.DeleteFunc(i.Faults, func(fault string) bool { return byChance(i, fault) })
	}
	file := filepath.Join(corpusCases, c.Name+".golden")
	if *updateFlag {
		text, err := o.reader.Encode(got, bases)
		if err != nil {
			o.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			o.Fatal(err)
		}
		return
	}
	want, err := o.reader.Load(file, bases)
	if err != nil {
		o.Fatalf("%v (make oracle writes it)", err)
	}
	if diff := c.Diff(want, got, since); diff != "" {
		o.Errorf("BuildKit makes something else by now:\n%s", diff)
	}
}

// build builds the case.
func (o *oracle) build(c *corpus.Case, dir string, bases corpus.Bases) (*corpus.Golden, error) {
	since := time.Now()
	if err := c.Unpack(o.Context(), dir, bases); err != nil {
		return nil, err
	}
	if c.Parent() {
		if err := o.daemon.Build(o.Context(), filepath.Join(dir, "parent"), bases["@PARENT@"], io.Discard); err != nil {
			return nil, err
		}
	}
	if err := o.daemon.Prune(o.Context()); err != nil {
		return nil, err
	}
	output := filepath.Join(dir, "output")
	var log bytes.Buffer
	err := export(o.Context(), o.daemon, c.Options, dir, output, &log)
	if err != nil && o.Context().Err() == nil {
		return &corpus.Golden{Fails: lastError(log.String())}, nil
	}
	if err != nil {
		return nil, err
	}
	return o.reader.Read(output, since)
}

// byChance says whether a fault is that a step was done before the one above it, which in BuildKit is chance: it does at once
// what does not depend on each other. It is none where the times were given.
func byChance(i *imagediff.Image, fault string) bool {
	var n int
	if _, err := fmt.Sscanf(fault, "history %d (", &n); err != nil || !strings.HasSuffix(fault, " was created before the one before it") {
		return false
	}
	const built = 9999 // the year of what was made by the build, see the reader
	return i.History[n].Created.Year() == built && i.History[n-1].Created.Year() == built
}

// export has BuildKit build what is in dir and write an OCI layout.
func export(ctx context.Context, daemon *lab.BuildKit, c corpus.Options, dir, output string, log io.Writer) error {
	destination := "type=oci,tar=false,dest=" + output
	for _, a := range c.Annotations {
		kind, rest, levelled := strings.Cut(a, ":")
		if key, _, _ := strings.Cut(a, "="); !levelled || len(key) < len(kind) {
			kind, rest = "manifest", a
		}
		for _, level := range strings.Split(kind, ",") {
			prefix := "annotation-" + level
			if level == "manifest" {
				prefix = "annotation"
			}
			destination += "," + prefix + "." + rest
		}
	}
	options := []string{
		"--opt=cmdline=built-in", // a syntax directive would have it pull its own front end
		"--no-cache",             // of two steps that are the same none has the other's result
	}
	for prefix, values := range map[string][]string{"build-arg:": c.BuildArgs, "label:": c.Labels} {
		for _, v := range values {
			options = append(options, "--opt="+prefix+v)
		}
	}
	for key, value := range map[string]string{"target": c.Target, "platform": c.Platform, "filename": c.File} {
		if value != "" {
			options = append(options, "--opt="+key+"="+value)
		}
	}
	for _, named := range c.Contexts {
		name, at, _ := strings.Cut(named, "=")
		options = append(options, "--opt=context:"+name+"=local:"+name, "--local="+name+"="+filepath.Join(dir, at))
	}
	for _, secret := range c.Secrets {
		id, file, _ := strings.Cut(secret, "=")
		options = append(options, "--secret=id="+id+",src="+filepath.Join(dir, "context", file))
	}
	for _, grant := range c.Grants {
		options = append(options, "--allow="+grant)
	}
	for _, id := range c.Agents {
		options = append(options, "--ssh="+id+"="+corpus.Key(dir, id))
	}
	return daemon.Export(ctx, filepath.Join(dir, "context"), destination, log, options...)
}

// lastError is what a failed build ends with, without what differs from build to build.
func lastError(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	last := lines[len(lines)-1]
	last = strings.TrimPrefix(last, "error: failed to solve: ")
	last = strings.TrimPrefix(last, "error: failed to run Build function: ") // there or not, by who is told of it first
	last = regexp.MustCompile(`/\S*/(cachemounts|snapshots)/\w+`).ReplaceAllString(last, "")
	last = regexp.MustCompile(`\bref \w+::\w+`).ReplaceAllString(last, "ref") // made up by each run
	if last == "" {
		last = "it failed"
	}
	return last
}
