package artifact

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/plugin/lock"
	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/store"
	"github.com/trowel-build/trowel/sdk"
)

// lockOf is a lock file with the plugin "demo", if it is one.
func lockOf(in Installed) lock.File {
	if in.Entry.Source == "" {
		return lock.File{}
	}
	return lock.File{Plugins: map[string]lock.Entry{"demo": in.Entry}}
}

// install installs the plugin "demo", which must succeed.
func install(t *testing.T, c *Client, r Request, before lock.File, how Renewal) (Installed, lock.File) {
	t.Helper()
	in, err := c.Install(t.Context(), r, before, how)
	if err != nil {
		t.Fatal(err)
	}
	return in, lockOf(in)
}

// TestMovedTag keeps what was locked, with and without a store and a network, until an upgrade is asked for.
func TestMovedTag(t *testing.T) {
	t.Parallel()
	s := serve(t)
	one := wasm(t, "1")
	two := with(t, bareModule(), about("2", manifest.Wants{Env: []string{"HOME"}}))
	r := Request{Name: "demo", Source: s.source(":latest"), Kind: sdk.KindCache}
	first := push(t, r.Source, one)
	shared := newStore(t)
	c := client(t, Options{Store: shared})
	in, locked := install(t, c, r, lock.File{}, Keep)
	want := lock.Entry{
		Source: r.Source, Version: "1", Digest: digest.Digest(first), Grants: r.Grants.Digest(),
		Layers: map[string]digest.Digest{"wasm": digest.FromBytes(one)},
	}
	if diff := cmp.Diff(want, in.Entry); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}

	second := push(t, r.Source, two)
	for name, c := range map[string]*Client{"with the store": c, "on another machine": client(t, Options{})} {
		p, err := c.Resolve(t.Context(), r, locked, lock.Frozen)
		if err != nil || !bytes.Equal(p.Bytes, one) {
			t.Errorf("%s: Resolve = %q, %v", name, p.Manifest.Version, err)
		}
		if p, _, err := c.Verify(t.Context(), r, locked, nil); err != nil || p.Manifest.Version != "1" {
			t.Errorf("%s: Verify = %q, %v", name, p.Manifest.Version, err)
		}
	}
	before := s.requests.Load()
	if in, _ := install(t, c, r, locked, Keep); in.Entry.Digest.String() != first || s.requests.Load() != before {
		t.Errorf("a second installation locks %s, with %d requests", in.Entry.Digest, s.requests.Load()-before)
	}
	in, upgraded := install(t, c, r, locked, Upgrade)
	if in.Entry.Digest.String() != second || in.Before.Version != "1" || in.Entry.Version != "2" {
		t.Errorf("an upgrade locks %+v after %+v", in.Entry, in.Before)
	}
	if diff := cmp.Diff(manifest.Wants{Env: []string{"HOME"}}, in.More); diff != "" {
		t.Errorf("more (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(in.More, in.Missing); diff != "" {
		t.Errorf("missing (-more +missing):\n%s", diff)
	}

	requests := s.requests.Load()
	if p, err := c.Resolve(t.Context(), r, upgraded, lock.Frozen); err != nil || p.Manifest.Version != "2" || len(p.Missing.Env) != 1 {
		t.Errorf("Resolve = %+v, %v", p.Manifest, err)
	}
	if s.requests.Load() != requests {
		t.Error("what is installed was asked for")
	}
	s.Close()
	if p, err := c.Resolve(t.Context(), r, locked, lock.Frozen); err != nil || p.Manifest.Version != "1" {
		t.Errorf("without the registry Resolve = %q, %v", p.Manifest.Version, err)
	}
	if got := c.State(r, locked); got != Ready {
		t.Errorf("State = %s", got)
	}
	if got := client(t, Options{}).State(r, locked); got != Absent {
		t.Errorf("State elsewhere = %s", got)
	}
	if got := c.State(r, lock.File{}); got != Unlocked {
		t.Errorf("State without a lock = %s", got)
	}
	if _, err := c.Resolve(t.Context(), r, lock.File{}, lock.Open); err == nil {
		t.Error("a tag that is not locked is resolved")
	} else {
		wantHint(t, err, "trowel plugin install demo")
	}
}

// TestMirror takes bytes from wherever they are, and only the right ones.
func TestMirror(t *testing.T) {
	t.Parallel()
	origin, mirror := serve(t), serve(t)
	r := Request{Name: "demo", Source: origin.source(":1")}
	program := wasm(t, "1")
	push(t, r.Source, program)
	_, locked := install(t, client(t, Options{}), r, lock.File{}, Keep)
	evil := with(t, bareModule(), about("666", manifest.Wants{}))
	// For every manifest and blob that is asked for, the mirror has another one.
	push(t, mirror.source(":1"), evil)
	other := func(what string) *func(http.ResponseWriter, *http.Request) bool {
		do := func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "sha256:") || !strings.Contains(r.URL.Path, what) {
				return false
			}
			if strings.Contains(r.URL.Path, "/blobs/") {
				w.Write(evil[:len(program)])
				return true
			}
			body, mediaType := fetch(t, mirror, "manifests/1")
			w.Header().Set("Content-Type", mediaType)
			io.WriteString(w, body)
			return true
		}
		return &do
	}
	mirror.intercept.Store(other("/manifests/"))
	p, err := client(t, Options{Registries: mirrored(origin, mirror)}).Resolve(t.Context(), r, locked, lock.Frozen)
	if err != nil || !bytes.Equal(p.Bytes, program) {
		t.Errorf("past a bad mirror Resolve = %q, %v", p.Manifest.Version, err)
	}
	mirror.intercept.Store(other("/blobs/"))
	_, err = client(t, Options{Registries: mirrored(origin, mirror)}).Resolve(t.Context(), r, locked, lock.Frozen)
	wantError(t, err, mirror.host(), "do not have this digest")
	mirror.intercept.Store(other(""))
	// Without the registry there is only the mirror's word, which is not taken.
	gone := func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusNotFound); return true }
	origin.intercept.Store(&gone)
	st := newStore(t)
	if p, err := client(t, Options{Registries: mirrored(origin, mirror), Store: st}).Resolve(t.Context(), r, locked, lock.Frozen); err == nil {
		t.Errorf("a bad mirror alone gives %q", p.Manifest.Version)
	}
	if _, err := os.Stat(st.Dir()); err == nil {
		t.Error("something was stored")
	}
	// A mirror with the right bytes is as good as the registry.
	mirror.intercept.Store(nil)
	push(t, mirror.source(":1"), program)
	if p, err := client(t, Options{Registries: mirrored(origin, mirror)}).Resolve(t.Context(), r, locked, lock.Frozen); err != nil || !bytes.Equal(p.Bytes, program) {
		t.Errorf("from the mirror alone Resolve = %q, %v", p.Manifest.Version, err)
	}
}

// TestTampered refuses what was changed in the store: manifest and program alike.
func TestTampered(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := Request{Name: "demo", Source: s.source(":1")}
	push(t, r.Source, wasm(t, "1"))
	evil := with(t, bareModule(), about("666", manifest.Wants{}))
	for name, which := range map[string]func(lock.Entry) digest.Digest{
		"program":  func(e lock.Entry) digest.Digest { return e.Layers["wasm"] },
		"manifest": func(e lock.Entry) digest.Digest { return e.Digest },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newStore(t)
			c := client(t, Options{Store: st})
			in, locked := install(t, c, r, lock.File{}, Keep)
			file := filepath.Join(st.Dir(), "blobs/sha256", which(in.Entry).Encoded())
			if err := os.WriteFile(file, evil, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := c.Resolve(t.Context(), r, locked, lock.Open)
			if !errors.Is(err, store.ErrWrongContent) {
				t.Fatalf("Resolve = %v", err)
			}
			wantError(t, err, which(in.Entry).Encoded(), digest.FromBytes(evil).String())
			wantHint(t, err, "trowel plugin install demo")
			if name == "program" && c.State(r, locked) != Changed {
				t.Errorf("State = %s", c.State(r, locked))
			}
			install(t, c, r, locked, Keep)
			if _, err := c.Resolve(t.Context(), r, locked, lock.Open); err != nil {
				t.Errorf("after another installation: %v", err)
			}
		})
	}
}

// TestForgedLock refuses a lock file whose program is not that of the manifest it names.
func TestForgedLock(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r := Request{Name: "demo", Source: s.source(":1")}
	push(t, s.source(":evil"), with(t, bareModule(), about("666", manifest.Wants{})))
	push(t, r.Source, wasm(t, "1"))
	c := client(t, Options{})
	evil, _ := install(t, c, Request{Name: "demo", Source: s.source(":evil")}, lock.File{}, Keep)
	in, _ := install(t, c, r, lock.File{}, Keep)
	in.Entry.Layers = evil.Entry.Layers
	p, err := c.Resolve(t.Context(), r, lockOf(in), lock.Frozen)
	if err == nil {
		t.Fatalf("it gives %q", p.Manifest.Version)
	}
	wantError(t, err, "names the program", "trowel.lock says")
}

// TestIndexIsLocked installs on one machine what another then resolves by the same lock file.
func TestIndexIsLocked(t *testing.T) {
	t.Parallel()
	s := serve(t)
	here, there := elf(t, runtime.GOARCH, "1"), elf(t, otherArch(), "1")
	r := Request{Name: "demo", Source: s.source(":1"), Trust: "native"}
	top := push(t, r.Source, here, there)
	c := client(t, Options{})
	in, locked := install(t, c, r, lock.File{}, Keep)
	want := map[string]digest.Digest{
		"linux/" + runtime.GOARCH: digest.FromBytes(here), "linux/" + otherArch(): digest.FromBytes(there),
	}
	if diff := cmp.Diff(want, in.Entry.Layers); diff != "" || in.Entry.Digest.String() != top {
		t.Errorf("%s (-want +got):\n%s", in.Entry.Digest, diff)
	}
	if p, err := c.Resolve(t.Context(), r, locked, lock.Frozen); err != nil || !bytes.Equal(p.Bytes, here) {
		t.Errorf("Resolve: %v", err)
	}
	r.Trust = ""
	_, err := c.Resolve(t.Context(), r, locked, lock.Open)
	wantError(t, err, "which no sandbox holds")
	wantHint(t, err, `trust = "native"`)
	_, err = c.Install(t.Context(), r, lock.File{}, Keep)
	wantError(t, err, "which no sandbox holds")

	push(t, s.source(":other"), there)
	_, err = c.Install(t.Context(), Request{Name: "demo", Source: s.source(":other"), Trust: "native"}, lock.File{}, Keep)
	wantError(t, err, "there is no program for linux/"+runtime.GOARCH)
}

// TestLocal holds files and built-in plugins to the lock file.
func TestLocal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "demo.wasm")
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one, two := wasm(t, "1"), wasm(t, "2")
	write(one)
	r := Request{Name: "demo", Source: "file:demo.wasm", Dir: dir, Kind: sdk.KindCache, Grants: service.Grants{Env: []string{"A"}}}
	c := client(t, Options{Builtin: func(name string) ([]byte, error) {
		if name != "demo" {
			return nil, errors.New("there is no such thing")
		}
		return two, nil
	}})
	if p, err := c.Resolve(t.Context(), r, lock.File{}, lock.Open); err != nil || !bytes.Equal(p.Bytes, one) {
		t.Errorf("without a lock: %v", err)
	}
	if _, err := c.Resolve(t.Context(), r, lock.File{}, lock.Frozen); err == nil {
		t.Error("frozen takes what is not locked")
	}
	in, locked := install(t, c, r, lock.File{}, Keep)
	if diff := cmp.Diff(lock.Entry{Source: r.Source, Version: "1", Digest: digest.FromBytes(one), Grants: r.Grants.Digest()}, in.Entry); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	write(two)
	_, err := c.Resolve(t.Context(), r, locked, lock.Open)
	wantError(t, err, digest.FromBytes(one).String(), digest.FromBytes(two).String())
	wantHint(t, err, "trowel plugin install demo")
	if c.State(r, locked) != Changed {
		t.Errorf("State = %s", c.State(r, locked))
	}
	in, locked = install(t, c, r, locked, Keep)
	if in.Before.Version != "1" || in.Entry.Version != "2" {
		t.Errorf("another installation locks %+v after %+v", in.Entry, in.Before)
	}
	more := r
	more.Grants.Env = []string{"A", "B"}
	if _, err := c.Resolve(t.Context(), more, locked, lock.Open); err != nil {
		t.Errorf("with other grants: %v", err)
	}
	if _, err := c.Resolve(t.Context(), more, locked, lock.Frozen); err == nil {
		t.Error("frozen takes other grants")
	}
	wrong := r
	wrong.Kind = sdk.KindInstruction
	_, err = c.Resolve(t.Context(), wrong, locked, lock.Open)
	wantError(t, err, "is of the kind [cache], and trowel.toml has it as instruction")

	built := Request{Name: "demo", Source: "builtin:demo"}
	if _, locked := install(t, c, built, lock.File{}, Keep); locked.Plugins["demo"].Digest != digest.FromBytes(two) {
		t.Errorf("a built-in plugin is locked as %v", locked)
	}
	_, err = c.Install(t.Context(), Request{Name: "demo", Source: "builtin:x"}, lock.File{}, Keep)
	wantError(t, err, "there is no such thing")
	for want, content := range map[string][]byte{
		"it is no plugin":             []byte("#!/bin/sh"),
		"version 2 of the plugin ABI": with(t, bareModule(), manifest.Manifest{ABI: 2, Name: "demo", Kinds: []sdk.Kind{sdk.KindCache}}),
		"which no sandbox holds":      elf(t, runtime.GOARCH, "1"),
	} {
		write(content)
		_, err := c.Resolve(t.Context(), r, lock.File{}, lock.Open)
		wantError(t, err, want)
	}
	write(elf(t, runtime.GOARCH, "1"))
	native := r
	native.Trust = "native"
	if _, err := c.Resolve(t.Context(), native, lock.File{}, lock.Open); err != nil {
		t.Errorf("native and trusted: %v", err)
	}
	write(elf(t, otherArch(), "1"))
	_, err = c.Resolve(t.Context(), native, lock.File{}, lock.Open)
	wantError(t, err, "and this machine is linux/"+runtime.GOARCH)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	_, err = c.Resolve(t.Context(), r, lock.File{}, lock.Open)
	wantHint(t, err, "build it first")
	_, err = c.Resolve(t.Context(), Request{Name: "demo", Source: "file:.", Dir: dir}, lock.File{}, lock.Open)
	wantError(t, err, "it is no file")
}
