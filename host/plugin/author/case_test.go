package author

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/sdk"
)

func TestExpandText(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, want string }{
		"nothing": {"", "{}"},
		"text":    {`{"a": [{"$text": "hi\n"}], "n": 9007199254740991}`, `{"a":["aGkK"],"n":9007199254740991}`},
		"other":   {`{"$text": 1, "b": {"$text": "x", "y": 2}}`, `{"$text":1,"b":{"$text":"x","y":2}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ExpandText([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, bad := range []string{"{", "{} {}", "x"} {
		if _, err := ExpandText([]byte(bad)); err == nil {
			t.Errorf("ExpandText(%q) has no error", bad)
		}
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	files := tree{sdk.RootContext: {"a.txt": "one", "dir/b.txt": "two", "dir/deep/c.txt": ""}}
	ctx := context.Background()
	for name, want := range map[string][]sdk.FileInfo{
		"":         {{Name: "a.txt", Size: 3, Mode: 0o644}, {Name: "dir", Mode: fs.ModeDir | 0o755}},
		"/dir/":    {{Name: "b.txt", Size: 3, Mode: 0o644}, {Name: "deep", Mode: fs.ModeDir | 0o755}},
		"../dir/.": {{Name: "b.txt", Size: 3, Mode: 0o644}, {Name: "deep", Mode: fs.ModeDir | 0o755}},
	} {
		got, err := files.ReadDir(ctx, sdk.RootContext, name)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("ReadDir(%q): %v (-want +got):\n%s", name, err, diff)
		}
	}
	if text, err := files.ReadFile(ctx, sdk.RootContext, "./dir/b.txt"); err != nil || string(text) != "two" {
		t.Errorf("ReadFile: %q, %v", text, err)
	}
	if info, err := files.Stat(ctx, sdk.RootContext, "dir/deep"); err != nil || !info.Mode.IsDir() || info.Name != "deep" {
		t.Errorf("Stat: %v, %v", info, err)
	}
	if _, err := files.Stat(ctx, sdk.RootStage, "a.txt"); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("Stat of what is not there: %v", err)
	}
}

func TestWithoutNothing(t *testing.T) {
	t.Parallel()
	got := withoutNothing(map[string]any{"a": "", "b": []any{}, "c": false, "d": nil, "e": map[string]any{"f": ""}, "g": "x"})
	if diff := cmp.Diff(map[string]any{"e": map[string]any{}, "g": "x"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
