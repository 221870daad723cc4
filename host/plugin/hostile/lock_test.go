package hostile_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/plugin"
	"github.com/trowel-build/trowel/host/plugin/artifact"
	"github.com/trowel-build/trowel/host/plugin/lock"
	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

// locked finds programs as a build does: by the lock file.
func locked(t *trial, file lock.File, mode lock.Mode) func(o *plugin.Options) {
	t.Helper()
	client, err := artifact.New(artifact.Options{})
	must(t, err)
	t.Cleanup(client.Close)
	return func(o *plugin.Options) {
		files := o.Program
		o.Program = func(ctx context.Context, name string, spec plugin.Spec) ([]byte, error) {
			if name != "hostile" {
				return files(ctx, name, spec)
			}
			found, err := client.Resolve(ctx, artifact.Request{
				Name: name, Source: spec.Source, Kind: spec.Kind, Trust: spec.Trust, Grants: spec.Allow,
			}, file, mode)
			return found.Bytes, err
		}
	}
}

// stale makes sure that an error says to install the plugin again.
func (t *trial) stale(err error, says string) {
	t.Helper()
	e, ok := errors.AsType[*lock.Error](err)
	if !ok || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), `plugin "hostile"`) || !strings.Contains(e.Hint(), "trowel plugin install hostile") {
		t.Errorf("error %v, want … %s …", err, says)
		return
	}
	t.happens("%v (hint: %s)", e, e.Hint())
}

func testSubstitute(t *trial) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "plugin.wasm")
	good := bytesOf(t, "good")
	must(t, os.WriteFile(file, good, 0o644))
	sp := plugin.Spec{Kind: sdk.KindCredential, Source: "file:" + file, Match: []string{"registry.example.com"}}
	text, err := lock.File{Plugins: map[string]lock.Entry{
		"hostile": {Source: sp.Source, Digest: digest.FromBytes(good), Grants: sp.Allow.Digest()},
	}}.Text()
	must(t, err)
	held, err := lock.Parse(lock.FileName, text)
	must(t, err)
	for _, mode := range []lock.Mode{lock.Open, lock.Frozen} {
		s := load(t, sp, locked(t, held, mode))
		if got := s.answers("x"); got != "good x" {
			t.Errorf("got %q", got)
		}
	}
	must(t, os.WriteFile(file, bytesOf(t, "substitute"), 0o644))
	for _, mode := range []lock.Mode{lock.Open, lock.Frozen} {
		t.happened = nil // both say the same
		t.stale(newSite(t).load(sp, locked(t, held, mode)), "is not what was installed")
	}
	err = newSite(t).load(sp, locked(t, lock.File{}, lock.Frozen))
	if err == nil || !strings.Contains(err.Error(), "is not in trowel.lock") {
		t.Errorf("frozen, and not locked: %v", err)
	}
}

func testGreedy(t *trial) {
	t.Parallel()
	inner := newForbidden(t)
	wants := manifest.Wants{
		Hosts: []string{inner.URL, "*.example.com"}, Env: []string{canaryVariable},
		Secrets: []manifest.Secret{{Name: "key", Use: service.UseHMAC}},
	}
	module, err := manifest.Append(bytesOf(t, "greedy"), manifest.Manifest{
		ABI: 1, Name: "greedy", Version: "2.0.0", Kinds: []sdk.Kind{sdk.KindCredential}, Wants: wants,
	})
	must(t, err)
	s := load(t, spec("greedy", sdk.KindCredential), serving(module))
	for _, line := range []string{`plugin "hostile" asks for more than it was granted`, "[plugins.hostile.allow]", inner.URL, canaryVariable, "secrets.key"} {
		if !strings.Contains(s.heard(), line) {
			t.Errorf("%q was not said: %s", line, s.heard())
		}
	}
	t.happens("a warning shows what to write to grant it")
	for _, question := range []string{"env", "secret", inner.URL} {
		_, err := s.ask(question)
		t.refused(err, sdk.CodeDenied, "granted", "plugins.hostile.allow")
	}
	_, err = s.ask(inner.URL)
	t.fails(err, sdk.CodeDenied)
	inner.unreached(t)
	s.works()

	sp := spec("greedy", sdk.KindCredential)
	held := lock.File{Plugins: map[string]lock.Entry{
		"hostile": {Source: sp.Source, Digest: digest.FromBytes(bytesOf(t, "greedy")), Grants: sp.Allow.Digest()},
	}}
	sp.Allow.Hosts = []string{inner.URL}
	t.stale(newSite(t).load(sp, locked(t, held, lock.Frozen)), "what it is granted was changed")
}
