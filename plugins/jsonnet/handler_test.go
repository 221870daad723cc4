package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
)

// files is a directory as the host gives it.
type files struct {
	root *os.Root
	read map[string]bool // what was asked for, and whether it was there
}

func (f files) ReadFile(_ context.Context, root sdk.Root, name string) ([]byte, error) {
	text, err := f.root.ReadFile(name)
	f.read[string(root)+":"+name] = err == nil
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &sdk.Error{Code: sdk.CodeNotFound}
	}
	return text, err
}

func (f files) Stat(context.Context, sdk.Root, string) (sdk.FileInfo, error) {
	return sdk.FileInfo{}, errors.New("nobody asks")
}

func (f files) ReadDir(context.Context, sdk.Root, string) ([]sdk.FileInfo, error) {
	return nil, errors.New("nobody asks")
}

func testContext(t *testing.T, content map[string]string) (context.Context, files) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		at := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	f := files{root, map[string]bool{}}
	return sdk.WithServices(t.Context(), sdk.Services{Files: f}), f
}

func TestPlan(t *testing.T) {
	t.Parallel()
	content := map[string]string{
		"app.jsonnet":          "local lib = import 'lib.libsonnet'; function(who='nobody') { hello: who, env: std.extVar('stage'), n: lib.n }",
		"vendor/lib.libsonnet": "{ n: 1 + 1 }",
		"text.jsonnet":         "'plain text'",
		"multi.jsonnet":        "{ 'b.json': {}, 'a/c.json': [1] }",
		"bad.jsonnet":          "{ a: error 'wanted' }",
		"up.jsonnet":           "{ '../../etc/passwd': {} }",
	}
	tests := map[string]struct {
		call sdk.Call
		want []sdk.Write
		err  string
		read map[string]bool
	}{
		"imports and variables": {
			call: sdk.Call{
				Args:  []string{"app.jsonnet", "/etc/app.json"},
				Flags: []sdk.FlagValue{{Name: "J", Value: "vendor"}, {Name: "ext-str", Value: "stage"}, {Name: "tla-str", Value: "who=me"}, {Name: "chmod", Value: "0600"}},
				Env:   []string{"stage=test"},
			},
			want: []sdk.Write{{Path: "/etc/app.json", Content: []byte("{\n   \"env\": \"test\",\n   \"hello\": \"me\",\n   \"n\": 2\n}\n"), Mode: "0600"}},
			read: map[string]bool{"context:app.jsonnet": true, "context:lib.libsonnet": false, "context:vendor/lib.libsonnet": true},
		},
		"a string into a directory": {
			call: sdk.Call{Args: []string{"text.jsonnet", "/etc/"}, Flags: []sdk.FlagValue{{Name: "string", Value: "true"}}},
			want: []sdk.Write{{Path: "/etc/text.json", Content: []byte("plain text\n")}},
			read: map[string]bool{"context:text.jsonnet": true},
		},
		"many files": {
			call: sdk.Call{Args: []string{"multi.jsonnet", "/etc"}, Flags: []sdk.FlagValue{{Name: "multi", Value: "true"}}},
			want: []sdk.Write{{Path: "/etc/a/c.json", Content: []byte("[\n   1\n]\n")}, {Path: "/etc/b.json", Content: []byte("{ }\n")}},
			read: map[string]bool{"context:multi.jsonnet": true},
		},
		"an error of the template": {
			call: sdk.Call{Args: []string{"bad.jsonnet", "/x"}},
			err:  "wanted\n\tbad.jsonnet:1:6-20\tobject <anonymous>\n\tField \"a\"\t\n\tDuring manifestation",
			read: map[string]bool{"context:bad.jsonnet": true},
		},
		"a name that leads out": {
			call: sdk.Call{Args: []string{"up.jsonnet", "/etc"}, Flags: []sdk.FlagValue{{Name: "multi", Value: "true"}}},
			err:  "the result has a file named ../../etc/passwd: names are paths below DEST",
			read: map[string]bool{"context:up.jsonnet": true},
		},
		"no such variable": {
			call: sdk.Call{Args: []string{"text.jsonnet", "/x"}, Flags: []sdk.FlagValue{{Name: "ext-str", Value: "nope"}}},
			err:  "--ext-str nope: write NAME=VALUE, or set the variable with ENV or ARG",
			read: map[string]bool{},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, f := testContext(t, content)
			h, err := newHandler(sdk.NewConfig(nil))
			if err != nil {
				t.Fatal(err)
			}
			plan, err := h.Plan(ctx, tt.call)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if diff := cmp.Diff(tt.err, message); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			var got []sdk.Write
			for _, e := range plan.Effects {
				got = append(got, *e.Write)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("effects (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.read, f.read); diff != "" {
				t.Errorf("reads (-want +got):\n%s", diff)
			}
		})
	}
}
