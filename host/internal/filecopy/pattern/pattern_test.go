package pattern

import "testing"

func TestHasWildcard(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]bool{
		"": false, "a/b.c": false, "*": true, "a?": true, "[a]": true, "a]": false, `\*`: false, `\\*`: true, `\`: false, `a\[b\]`: false,
	} {
		if got := HasWildcard(p); got != want {
			t.Errorf("HasWildcard(%q) = %v", p, got)
		}
	}
}

func TestUnescape(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]string{"a": "a", `\*`: "*", `a\\b`: `a\b`, `a\`: `a\`, `\[0\]`: "[0]"} {
		if got := Unescape(p); got != want {
			t.Errorf("Unescape(%q) = %q", p, got)
		}
	}
}

func TestReaches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, dir string
		want         bool
	}{
		{"a/b", "a", true},
		{"a/b", "a/b", true},
		{"a/b", "a/b/c", true},
		{"a/b", "b", false},
		{"a/b", "a/c", false},
		{"*/b", "a", true},
		{"*/b", "a/c", false},
		{"**/b", "a/c/d", true},
		{"a/**", "b", false},
		{"a/**/x", "a/c/d", true},
		{"[", "a", true},
		{"[a/b]", "a", true},
		{"a?", "ab/c", true},
		{"a?", "b", false},
	} {
		if got := Reaches(tt.pattern, tt.dir); got != tt.want {
			t.Errorf("Reaches(%q, %q) = %v", tt.pattern, tt.dir, got)
		}
	}
}
