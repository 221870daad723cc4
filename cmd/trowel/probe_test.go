package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/builtin/cache/local"
	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/testdata/boximage"
)

// The tests of probing are not parallel: they count what their process probes.

// probed is a way to isolate that this user's process has to probe before it can be taken.
func probed(t *testing.T) string {
	t.Helper()
	switch {
	case os.Getuid() != 0:
		return host.IsolationNamespaces
	case hasInitially(unix.CAP_SYS_CHROOT, unix.CAP_MKNOD):
		return host.IsolationChroot
	}
	t.Skip("nothing can be run here")
	return ""
}

// buildRequest is one for a build with a shell in its context, and a cache in dir.
func buildRequest(t *testing.T, dir, dockerfile string) host.Request {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	shell := os.Getenv(envShell)
	if shell == "" {
		shell = at("box")
		if err := boximage.Compile(t.Context(), "../..", shell); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(shell)
	err = errors.Join(err, os.Mkdir(at("ctx"), 0o755), os.WriteFile(at("ctx/sh"), text, 0o755), os.WriteFile(at("ctx/Dockerfile"), []byte(dockerfile), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	c, err := local.Open(local.Config{Dir: at("cache")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return host.Request{
		Context: at("ctx"), Isolation: probed(t), Launcher: launcher, WorkDir: at("work"), Caches: []host.Cache{{Name: "local", Backend: c}},
	}
}

// TestProbingIsLeftOut holds that a build whose RUNs are all found in a cache does not find out what the machine permits, and
// needs no user namespace.
func TestProbingIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	r := buildRequest(t, dir, "FROM scratch\nCOPY sh /bin/sh\nRUN echo 1 > /made\n")
	before := launcher.Probes()
	_, err := host.Build(t.Context(), r)
	if errors.Is(err, host.ErrNeedsUserNamespace) {
		again := exec.CommandContext(t.Context(), "/proc/self/exe", "build", "--cache-dir", filepath.Join(dir, "cache"), r.Context)
		again.Args[0] = "trowel"
		out, failed := again.CombinedOutput()
		if err = failed; err != nil {
			t.Log(string(out))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	first := launcher.Probes()
	if first == before {
		t.Error("a RUN was run without probing")
	}
	if _, err := host.Build(t.Context(), r); err != nil {
		t.Errorf("build what is in the cache: %v", err)
	}
	if n := launcher.Probes() - first; n != 0 {
		t.Errorf("%d probes for a build that runs nothing", n)
	}
	r.NoCacheFor = []string{"stage-0"}
	if _, err := host.Build(t.Context(), r); err != nil && !errors.Is(err, host.ErrNeedsUserNamespace) {
		t.Error(err)
	}
	if launcher.Probes() == first {
		t.Error("a RUN that is not to be taken from the cache was run without probing")
	}
}

// TestProbingIsBeside holds that where no cache can have a RUN it is found out how to run it while base images are looked up.
func TestProbingIsBeside(t *testing.T) {
	before := launcher.Probes()
	images := registry.New(registry.Logger(quiet()))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/manifests/") {
			for end := time.Now().Add(time.Minute); launcher.Probes() == before && r.Context().Err() == nil; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Error("the base image was looked up before anything was probed")
					break
				}
			}
		}
		images.ServeHTTP(w, r)
	}))
	defer server.Close()
	base := strings.TrimPrefix(server.URL, "http://") + "/missing"
	_, err := host.Build(t.Context(), buildRequest(t, t.TempDir(), "FROM "+base+"\nCOPY sh /bin/sh\nRUN true\n"))
	if errors.Is(err, host.ErrNeedsUserNamespace) { // known before the registry has answered, or at the same time
		return
	}
	if err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("build on an image that is not there: %v", err)
	}
}

// TestProbingAsOthers runs the tests of probing as ordinary users.
func TestProbingAsOthers(t *testing.T) {
	if os.Getenv(envShell) != "" || os.Getuid() != 0 || !manyIDs() {
		return
	}
	h := newHousehold(t)
	for _, user := range []string{userManyIDs, userOneID} {
		t.Run(user, func(t *testing.T) { h.test(t, user, "^TestProbingIs", "5m") })
	}
}
