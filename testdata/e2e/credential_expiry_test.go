//go:build e2e

package e2e

import (
	"bytes"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// expiry is a build that outlasts its credentials.
type expiry struct {
	passwords passwords
	telling   map[string]any // by the token server, beside the token
	slow      slowness
	command   func(t *testing.T, j *job) *exec.Cmd
	// fails is what the error has to say; none: the build succeeds.
	fails []string
}

// honest is a token server that tells how long its tokens live; one that does not leaves 60 seconds to be thought of.
func honest() map[string]any { return map[string]any{"expires_in": int(tokenLife / time.Second)} }

// TestCredentialExpiry is the three-hour job in little: tokens live for 20 seconds, and a build lasts three times as long. It
// pulls a base from behind a slow connection that breaks, streams a layer over another one while the next step runs, resumes
// that upload, and pushes config and manifest, and finds its token expired each time.
func TestCredentialExpiry(t *testing.T) {
	w := openWorkbench(t)
	both := slowness{pull: true, push: true}
	var all sync.WaitGroup // they wait for time to pass, and t.Parallel would have them wait for processors too
	defer all.Wait()
	for name, e := range map[string]expiry{
		"token of a lasting password":     {lasting, honest(), both, withVariables, nil},
		"token that does not tell":        {lasting, nil, both, withHelper, nil},
		"one-time password":               {oneTime, nil, both, withHelper, nil},
		"one-time password, told":         {oneTime, honest(), both, withHelper, nil},
		"gitlab, compiled in":             {lasting, nil, both, withGitLab, nil},
		"gitlab, a WebAssembly module":    {lasting, nil, both, withPlugin("gitlab.wasm"), nil},
		"gitlab, a process":               {lasting, nil, both, withPlugin("gitlab"), nil},
		"the same password for ever":      {onlyOnce, nil, slowness{push: true}, withHelper, []string{`push blob "`, "access denied", "the basic credential of ci", "pull and push in \"team/app\""}},
		"the same password, while pulled": {onlyOnce, nil, slowness{pull: true}, withHelper, []string{`pull blob "`, "access denied", "the basic credential of ci"}},
	} {
		all.Go(func() {
			t.Run(name, func(t *testing.T) { e.test(t, w) })
		})
	}
}

func (e expiry) test(t *testing.T, w *workbench) {
	authority := newAuthority(t, e.passwords, e.telling)
	registry := startRegistry(t, w.registry, authority.configuration(t))
	w.pushBase(t, registry, authority)
	proxy := newSlowProxy(t, registry, authority, e.slow)
	job := &job{workbench: w, authority: authority, registry: proxy.address(), context: t.TempDir()}
	dockerfile := strings.Join([]string{
		"FROM " + proxy.address() + "/library/base:1",
		"RUN cat /data > /early",
		"RUN sleep 24",
		"RUN echo late > /late",
	}, "\n")
	if err := os.WriteFile(filepath.Join(job.context, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := e.command(t, job)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	started := time.Now()
	err := cmd.Run()
	t.Logf("%s, %d passwords, %d tokens, %d refusals by the token server", time.Since(started).Round(time.Second),
		len(authority.given), len(authority.tokens), authority.refused)
	for _, secret := range authority.secrets() {
		if strings.Contains(stderr.String()+stdout.String(), secret) {
			t.Errorf("the output has the secret %q", secret)
		}
	}
	defer func() {
		if t.Failed() {
			t.Logf("it wrote\n%s", stderr.String())
			for _, n := range proxy.seen() {
				t.Logf("%6.1fs %-28s %d token of %4.1fs", n.at.Seconds(), n.kind, n.status, n.age.Seconds())
			}
		}
	}()
	if len(e.fails) > 0 {
		if err == nil {
			t.Fatal("the build succeeds with a password that is not taken any more")
		}
		_, says, _ := strings.Cut(stderr.String(), "trowel: error: ")
		t.Logf("it says: %s", says)
		for _, part := range append(e.fails, proxy.address()) {
			if !strings.Contains(says, part) {
				t.Errorf("the error does not say %q", part)
			}
		}
		return
	}
	if err != nil {
		t.Fatalf("the build: %v", err)
	}
	checkImage(t, registry, strings.TrimSpace(stdout.String()), authority)
	e.checkPhases(t, proxy.seen())
}

// checkPhases demands that each phase went through with a token of its own.
func (e expiry) checkPhases(t *testing.T, notes []note) {
	t.Helper()
	used := map[string]string{} // token: the phase that it was first good for
	expired := 0
	done := map[string]bool{}
	for _, n := range notes {
		if n.status == http.StatusUnauthorized && n.token != "" && n.age >= tokenLife {
			expired++
		}
		if n.status >= 300 {
			continue
		}
		if n.age > tokenLife+time.Second && n.kind != "PATCH upload" {
			t.Errorf("%s: a token of %s was taken, so nothing is shown", n.kind, n.age)
		}
		if !done[n.kind] && used[n.token] == "" {
			used[n.token] = n.kind
		}
		done[n.kind] = true
	}
	t.Logf("%d tokens, first good for: %s; %d requests with an expired one", len(used), strings.Join(slices.Sorted(maps.Values(used)), "; "), expired)
	for _, kind := range []string{"GET manifest", "GET blob", "GET blob, from the middle", "POST upload", "PATCH upload, in chunks", "PUT upload, committed", "PUT upload, whole", "PUT manifest"} {
		if !done[kind] {
			t.Errorf("there was no %q", kind)
		}
	}
	if len(used) < 5 {
		t.Errorf("%d tokens were used, want one for the base's start, its end, the upload's start, its end and the manifest", len(used))
	}
	if e.telling != nil && expired > 0 {
		t.Errorf("%d requests carried an expired token, though it was known when they expire", expired)
	}
	if e.telling == nil && expired < 4 {
		t.Errorf("%d requests carried an expired token, want at least 4: nothing is shown", expired)
	}
}
