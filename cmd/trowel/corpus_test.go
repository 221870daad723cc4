package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/trowel-build/trowel/testdata/dockerfiles/corpus"
)

const corpusDir = "../../testdata/dockerfiles"

// TestManifest holds the corpus to the list of the language's rules.
func TestManifest(t *testing.T) {
	t.Parallel()
	cases, err := corpus.Load(filepath.Join(corpusDir, "cases"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := corpus.LoadManifest(filepath.Join(corpusDir, "manifest.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, elsewhere := range []string{"../../testdata/checks/*.txtar", "../../testdata/script/*.txtar"} {
		more, err := corpus.ClaimedBy(elsewhere)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, more...)
	}
	scenarios, err := filepath.Glob("../../testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range scenarios {
		c, err := corpus.LoadScenario(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Rows) > 0 {
			cases = append(cases, c)
		}
	}
	for _, fault := range manifest.Check(cases) {
		t.Error(fault)
	}
	if len(manifest.Pending) > 0 {
		t.Logf("%d of %d rows are pending: %s", len(manifest.Pending), len(manifest.Rows), strings.Join(manifest.Pending, " "))
	}
}

// TestCorpus builds each case and compares the image with what BuildKit made of it.
func TestCorpus(t *testing.T) {
	t.Parallel()
	eachCase(t, func(r *corpusRun) { r.build() })
}

// eachCase prepares what the cases of the corpus need, and does something with each.
func eachCase(t *testing.T, do func(*corpusRun)) {
	t.Helper()
	cases, err := corpus.Load(filepath.Join(corpusDir, "cases"))
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	base, err := sharedBase()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(quiet())))
	t.Cleanup(server.Close)
	bases, err := corpus.PushBases(t.Context(), strings.TrimPrefix(server.URL, "http://"), base)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := corpus.NewReader(base)
	if err != nil {
		t.Fatal(err)
	}
	permits := machinePermits{run: canRun(), owners: manyIDs()}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			if c.Root && (os.Getuid() != 0 || !permits.owners) {
				return // its context cannot be made
			}
			r := &corpusRun{T: t, c: c, bases: bases.For(c), reader: reader, permits: permits, dir: t.TempDir()}
			switch {
			case !permits.owners:
				r.differs = otherwise[userOneID][c.Name]
			case os.Getuid() != 0:
				r.differs = otherwise[userManyIDs][c.Name]
			}
			do(r)
		})
	}
}

// machinePermits is what this machine and user can do.
type machinePermits struct{ run, owners bool }

// corpusRun builds one case.
type corpusRun struct {
	*testing.T
	c       *corpus.Case
	bases   corpus.Bases
	reader  *corpus.Reader
	permits machinePermits
	dir     string
	// isolation is how RUN is isolated; empty means as the machine permits. differs is what differs there.
	isolation string
	container *disposable // to build in, if any
	differs   difference
}

// build builds the case cold, and compares with BuildKit; then again with a set time: cold with many jobs, from the cache with
// one, and without a cache.
func (r *corpusRun) build() {
	if got, since, ok := r.cold(); ok {
		r.materialised(got, since)
		r.again()
	}
}

// cold builds the case without a cache and compares with BuildKit. ok says whether there is an image.
func (r *corpusRun) cold() (got *corpus.Golden, since time.Time, ok bool) {
	bases, stop := r.c.Serve(r.dir, r.bases)
	r.Cleanup(stop) // the case is built again afterwards
	r.bases = bases
	if err := r.c.Unpack(r.Context(), r.dir, r.bases); err != nil {
		r.Fatal(err)
	}
	want, err := r.reader.Load(filepath.Join(corpusDir, "cases", r.c.Name+".golden"), r.bases)
	if err != nil {
		r.Fatal(err)
	}
	since = time.Now()
	if r.c.Parent() {
		if _, log, err := r.trowel("parent", "first", "", "-t", r.bases["@PARENT@"], "--push"); err != nil {
			if !r.forbidden(log) {
				r.Fatalf("build the parent: %v\n%s", err, log)
			}
			return nil, since, false
		}
	}
	_, log, err := r.trowel("context", "first", "", "--jobs=1", "-o", r.output("cold"))
	switch {
	case err != nil && r.forbidden(log):
		return nil, since, false
	case r.differs.succeeds:
		if err != nil {
			r.Fatalf("%v\n%s", err, log)
		}
		return nil, since, false
	case r.differs.refuses != "":
		if err == nil || !strings.Contains(log, r.differs.refuses) {
			r.Fatalf("want a refusal that says %q: %v\n%s", r.differs.refuses, err, log)
		}
		return nil, since, false
	case r.c.Refuses != nil || r.c.Fails != nil:
		r.refused(want, log, err)
		return nil, since, false
	case err != nil:
		r.Fatalf("%v\n%s", err, log)
	}
	if got, err = r.reader.Read(filepath.Join(r.dir, "cold"), since); err != nil {
		r.Fatal(err)
	}
	r.differs.leaveOut(want)
	r.differs.leaveOut(got)
	if diff := r.c.Diff(want, got, since); diff != "" {
		r.Errorf("differs from what BuildKit made:\n%s", diff)
	}
	return got, since, true
}

// again builds three times more, with times made the same; all have the same digest.
func (r *corpusRun) again() {
	digests := map[string]string{}
	for _, v := range []struct{ name, jobs, cache, flag string }{
		{"cold with many jobs", "8", "second", "--no-cache=false"},
		{"from the cache with one job", "1", "second", "--no-cache=false"},
		{"without a cache", "1", "second", "--no-cache"},
	} {
		digest, log, err := r.trowel("context", v.cache, "1600000000", "--rewrite-timestamp", "--jobs="+v.jobs, v.flag)
		if err != nil {
			r.Fatalf("%s: %v\n%s", v.name, err, log)
		}
		digests[digest] += " " + v.name
	}
	if len(digests) != 1 {
		r.Errorf("the digest differs: %v", digests)
	}
}

// refused demands that the build failed, and with the right words.
func (r *corpusRun) refused(want *corpus.Golden, log string, err error) {
	pattern := r.c.Fails
	if pattern == nil {
		pattern = r.c.Refuses
	}
	if (r.c.Fails != nil) != (want.Fails != "") {
		r.Errorf("BuildKit says %q; is the directive to be fails or refuses?", want.Fails)
	}
	if err == nil {
		r.Fatalf("the build succeeded, want an error that matches %q", pattern)
	}
	if _, message, _ := strings.Cut(log, "trowel: error: "); !pattern.MatchString(message) {
		r.Errorf("the build failed, but not with %q:\n%s", pattern, log)
	}
}

// forbidden says whether a build failed for want of what this user may not do, and said so.
func (r *corpusRun) forbidden(log string) bool {
	return !r.permits.run && strings.Contains(log, "trowel doctor tells what this machine permits") ||
		!r.permits.owners && (strings.Contains(log, "/etc/subuid") || strings.Contains(log, "operation not permitted"))
}

func (r *corpusRun) output(name string) string {
	return "type=oci,tar=false,dest=" + filepath.Join(r.dir, name)
}

// trowel builds a directory of the case and returns digest and log.
func (r *corpusRun) trowel(dir, cache, epoch string, arguments ...string) (digest, log string, err error) {
	arguments = append([]string{"build", "--progress=plain", "--cache-dir", filepath.Join(r.dir, "cache-"+cache)}, arguments...)
	if dir == "context" {
		arguments = append(arguments, r.flags()...)
	}
	ctx, stop := context.WithTimeout(r.Context(), time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, "trowel", append(arguments, filepath.Join(r.dir, dir))...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "HOME="+r.dir, "TMPDIR="+r.dir, "SOURCE_DATE_EPOCH="+epoch, "XDG_CACHE_HOME=", "XDG_CONFIG_HOME=", "DOCKER_CONFIG=")
	if r.isolation != "" {
		cmd.Env = append(cmd.Env, "TROWEL_ISOLATION="+r.isolation)
	}
	if r.container != nil {
		if err := r.container.enter(cmd, r.dir); err != nil {
			r.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", stderr.String(), fmt.Errorf("trowel %q: %w", arguments, err)
	}
	return strings.TrimSpace(stdout.String()), stderr.String(), nil
}

// flags are the case's options.
func (r *corpusRun) flags() (flags []string) {
	o := r.c.Options
	for flag, values := range map[string][]string{
		"--build-arg": o.BuildArgs, "--label": o.Labels, "--annotation": o.Annotations, "--allow": o.Grants, "--target": ifGiven(o.Target), "--platform": ifGiven(o.Platform),
	} {
		for _, v := range values {
			flags = append(flags, flag, v)
		}
	}
	for _, c := range o.Contexts {
		name, dir, _ := strings.Cut(c, "=")
		flags = append(flags, "--build-context", name+"="+filepath.Join(r.dir, dir))
	}
	for _, secret := range o.Secrets {
		id, file, _ := strings.Cut(secret, "=")
		flags = append(flags, "--secret", "id="+id+",src="+filepath.Join(r.dir, "context", file))
	}
	for _, id := range o.Agents {
		flags = append(flags, "--ssh", id+"="+corpus.Key(r.dir, id))
	}
	if o.File != "" {
		flags = append(flags, "-f", filepath.Join(r.dir, "context", o.File))
	}
	return flags
}

// ifGiven is a list of what a directive says once.
func ifGiven(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}
