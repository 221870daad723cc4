//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// verdict is how a build may end.
type verdict string

const (
	right  verdict = "right"  // with the right image: what went wrong was a cache, or could be made good
	none   verdict = "none"   // with an error that names the plugin, and no image
	either verdict = "either" // it depends on the moment
)

// trial is a build in which a plugin is killed, in one way or another.
type trial struct {
	name    string
	culprit string // release, shelf or vault
	warm    bool   // the store has what an earlier build made
	want    verdict
	more    string // lines of the culprit's configuration
	store   storeFault
	at      int64
	strike  func(*trialRun) // while the build runs
	asked   func(*trialRun) // when the vault is
	blame   bool            // the output names the culprit even if the build succeeds
}

// trialRun is a trial that runs.
type trialRun struct {
	trial
	*plot
	ctx     context.Context // until the build ends
	process string          // the vault's argument zero
	hits    atomic.Int32    // on it
	span    time.Duration   // how long a build takes
}

// TestKilledPlugins kills plugins, and what they depend on, at any moment of builds. Each build ends with the right image, or
// with an error that names the plugin and without an image; a cache that fails never fails a build; and nothing is left behind.
func TestKilledPlugins(t *testing.T) {
	y := openYard(t)
	plugins := outsidePlugins{
		release: outsideModule(t, y.trowel, "instruction", "release", faultyRelease()),
		shelf:   outsideModule(t, y.trowel, "cache", "shelf", faultyShelf()),
		vault:   outsideModule(t, y.trowel, "credential", "vault", faultyVault(), "--target", "native"),
	}
	// A prepared machine: the image that is right, a store that has it, and the modules compiled.
	files := &shelves{files: map[string][]byte{}}
	s := newStore(t, files, storeWell, 0)
	p := y.newPlot(t, "right", plugins.config(outsideSettings{registry: y.registry, store: s.server.URL, vault: y.authority.URL}))
	if o := start(t, p.command(t, "plugin", "install", "--cache-dir", filepath.Join(p.dir, "cache")))(); o.err != nil {
		t.Fatalf("plugin install: %v\n%s", o.err, o.output)
	}
	good := start(t, p.build(t))()
	if good.err != nil {
		t.Fatalf("the build to compare with: %v\n%s", good.err, good.output)
	}
	adoptOrphans(t)
	k := &killing{yard: y, plugins: plugins, files: files, digest: good.digest, compiled: filepath.Join(p.dir, "cache", "compiled"), span: good.took}
	began := time.Now()
	trials := allTrials()
	turns := make(chan struct{}, 4)
	var all sync.WaitGroup
	for i, tr := range trials {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			t.Run(fmt.Sprintf("%s/%02d", tr.name, i), func(t *testing.T) { k.try(t, tr, i) })
		})
	}
	all.Wait()
	t.Logf("%d builds in %s: %d right, %d without an image; the undisturbed one took %s", len(trials), time.Since(began).Round(time.Second), k.right.Load(), k.none.Load(), good.took.Round(time.Millisecond))
	if k.right.Load() < 10 || k.none.Load() < 10 {
		t.Error("nearly all builds end the same way, so nothing is shown")
	}
	noOrphans(t)
}

// allTrials are the builds.
func allTrials() []trial {
	var all []trial
	add := func(n int, make func() trial) {
		for range n {
			all = append(all, make())
		}
	}
	warm := func() bool { return rand.IntN(2) == 0 }
	within := func(do func(*trialRun)) func(*trialRun) {
		return func(r *trialRun) {
			select {
			case <-time.After(rand.N(r.span)):
				do(r)
			case <-r.ctx.Done():
			}
		}
	}
	add(8, func() trial {
		return trial{name: "vault/SIGKILL", culprit: "vault", warm: warm(), want: either, strike: within(signalVault(syscall.SIGKILL))}
	})
	add(5, func() trial {
		return trial{name: "vault/SIGSTOP", culprit: "vault", warm: warm(), want: either, strike: within(signalVault(syscall.SIGSTOP))}
	})
	add(3, func() trial {
		return trial{name: "vault/socket removed", culprit: "vault", warm: warm(), want: either, strike: removeSockets}
	})
	add(2, func() trial {
		return trial{name: "vault/SIGKILL in a call", culprit: "vault", warm: warm(), want: none, asked: signalVault(syscall.SIGKILL)}
	})
	add(1, func() trial {
		return trial{name: "vault/SIGSTOP in a call", culprit: "vault", want: none, asked: signalVault(syscall.SIGSTOP)}
	})
	add(1, func() trial {
		return trial{name: "vault/SIGKILL again and again", culprit: "vault", want: none, strike: func(r *trialRun) {
			for r.ctx.Err() == nil {
				signalVault(syscall.SIGKILL)(r)
			}
		}}
	})
	for _, kind := range []string{"exit", "trap", "hang", "hangup", "fork", "lie"} {
		add(1, func() trial {
			return trial{name: "vault/" + kind, culprit: "vault", warm: warm(), want: none, more: fmt.Sprintf("fault = %q\nat = 1", kind)}
		})
		add(1, func() trial {
			return trial{name: "vault/" + kind + " later", culprit: "vault", warm: warm(), want: either, more: fmt.Sprintf("fault = %q\nat = %d", kind, 2+rand.IntN(2))}
		})
	}
	places := map[string][]string{
		"release": {"configure", "describe", "plan /etc/release", "plan /app/release"},
		"shelf":   {"configure", "records", "blobs", "get", "put"},
	}
	for i, kind := range []string{"trap", "exit", "loop", "bomb", "deep", "range", "flood", "lie"} {
		for culprit, want := range map[string]verdict{"release": none, "shelf": right} {
			of := places[culprit]
			for _, in := range []string{of[i%len(of)], of[(i+2)%len(of)]} {
				if kind == "lie" && in == "configure" {
					in = of[1]
				}
				at, isWarm := int64(1), warm()
				if culprit == "shelf" && in != "configure" {
					at = 1 + rand.Int64N(3)
				}
				switch in {
				case "get", "blobs": // are asked for what a record names
					isWarm = true
				case "put":
					isWarm = false
				}
				add(1, func() trial {
					return trial{
						name: culprit + "/" + kind + " in " + in, culprit: culprit, warm: isWarm, want: want, blame: at == 1,
						more: fmt.Sprintf("fault = %q\nin = %q\nat = %d", kind, in, at),
					}
				})
			}
		}
	}
	for _, fault := range storeFaults() {
		for _, isWarm := range []bool{false, true} {
			add(1, func() trial {
				return trial{name: "store/" + string(fault), culprit: "shelf", warm: isWarm, want: right, store: fault, at: 1 + rand.Int64N(30)}
			})
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// killing is what the trials share.
type killing struct {
	*yard
	plugins  outsidePlugins
	files    *shelves // of the undisturbed build
	digest   string   // of the right image
	compiled string
	span     time.Duration

	right, none atomic.Int32
}

// patience is how long a build may take: more means that it hangs.
const patience = 60 * time.Second

func (k *killing) try(t *testing.T, tr trial, i int) {
	suffix := fmt.Sprintf("-%d-%d", os.Getpid(), i)
	ctx, over := context.WithTimeout(t.Context(), patience)
	defer over()
	r := &trialRun{trial: tr, ctx: ctx, process: "trowel-plugin-vault" + suffix, span: k.span}
	var asked sync.WaitGroup
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if tr.asked != nil {
			tr.asked(r)
		}
		time.Sleep(rand.N(100 * time.Millisecond))
		fmt.Fprint(w, k.authority.password())
	}))
	defer vault.Close()
	files := &shelves{files: map[string][]byte{}}
	if tr.warm {
		files = k.files.clone()
	}
	s := newStore(t, files, tr.store, tr.at)
	r.plot = k.newPlot(t, fmt.Sprintf("trial-%d", i), k.plugins.config(outsideSettings{
		suffix: suffix, registry: k.registry, store: s.server.URL, vault: vault.URL,
		more: map[string]string{tr.culprit: tr.more}, limits: `limits.timeout = "1500ms"`,
	}))
	if err := os.CopyFS(filepath.Join(r.dir, "cache", "compiled"), os.DirFS(k.compiled)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(r.dir, "cache", "compiled"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := r.build(t)
	finish := start(t, cmd)
	stuck := time.AfterFunc(patience, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) }) // it shows where it is
	if tr.strike != nil {
		asked.Go(func() { tr.strike(r) })
	}
	o := finish()
	hangs := !stuck.Stop()
	over()
	asked.Wait()
	if hangs {
		t.Errorf("it did not end in %s", patience)
	}
	s.close()
	k.judge(t, r, o, "\""+tr.culprit+suffix+"\"")
	k.nothingLeft(t, r)
	if t.Failed() {
		t.Logf("%+v, hit %d times, %d bad answers of %d: %s\n%s", tr.more, r.hits.Load(), s.bad.Load(), s.asked.Load(), o.took, cut(o.output, 20_000))
	} else if testing.Verbose() {
		t.Logf("%5.1fs, hit %d times, %d bad answers of %d: %s", o.took.Seconds(), r.hits.Load(), s.bad.Load(), s.asked.Load(), firstLine(o))
	}
}

func cut(text string, n int) string { return text[:min(n, len(text))] }

// firstLine is the end of a build in a line: its error, or else its first warning.
func firstLine(o outcome) string {
	says := o.message()
	if _, warning, found := strings.Cut(o.output, "warning: "); says == "" && found {
		says = "right; " + warning
	}
	line, _, _ := strings.Cut(says, "\n")
	return line
}

// judge demands the right image or none.
func (k *killing) judge(t *testing.T, r *trialRun, o outcome, culprit string) {
	t.Helper()
	pushed := k.pushed(t, r.plot.name)
	switch exit, failed := errors.AsType[*exec.ExitError](o.err); {
	case o.err == nil:
		k.right.Add(1)
		if o.digest != k.digest || pushed != k.digest {
			t.Errorf("a wrong image: trowel printed %q, the registry has %q, and %q is right", o.digest, pushed, k.digest)
		} else {
			k.whole(t, r.plot.name, pushed)
		}
		if r.want == none {
			t.Error("the build succeeds")
		}
		if r.blame && !strings.Contains(o.output, culprit) {
			t.Errorf("the output does not name %s", culprit)
		}
	case !failed || exit.ExitCode() != 1:
		t.Errorf("it ended with %v", o.err)
	default:
		k.none.Add(1)
		if pushed != "" || o.digest != "" {
			t.Errorf("the build failed, trowel printed %q and the registry has the tag, as %q", o.digest, pushed)
		}
		if r.want == right {
			t.Error("the build fails")
		}
		if !strings.Contains(o.message(), culprit) {
			t.Errorf("the error does not name %s", culprit)
		}
	}
	if regexp.MustCompile(`(?m)^(fatal error|panic|goroutine \d+ \[)`).MatchString(o.output) {
		t.Error("trowel panics")
	}
	for _, secret := range append(k.authority.secrets(), teamKey) {
		if strings.Contains(o.output, secret) {
			t.Error("the output has a secret")
		}
	}
}

// signalVault sends a signal to the process of the credential provider, as soon as there is one.
func signalVault(signal syscall.Signal) func(*trialRun) {
	return func(r *trialRun) {
		for r.ctx.Err() == nil {
			for _, pid := range processes(r.process) {
				if syscall.Kill(pid, signal) == nil {
					r.hits.Add(1)
					return
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// removeSockets removes the sockets of plugins, at any time from when they are made.
func removeSockets(r *trialRun) {
	time.Sleep(rand.N(20 * time.Millisecond))
	for r.ctx.Err() == nil {
		_ = filepath.WalkDir(filepath.Join(r.dir, "tmp"), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type()&os.ModeSocket != 0 && os.Remove(path) == nil {
				r.hits.Add(1)
			}
			return nil
		})
		time.Sleep(rand.N(5 * time.Millisecond))
	}
}
