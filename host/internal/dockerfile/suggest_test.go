package dockerfile

import "testing"

func TestNearest(t *testing.T) {
	t.Parallel()
	options := []string{"build", "builder", "test", "RUN", "ENV", "--chown", "--chmod"}
	tests := []struct{ word, want string }{
		{"biuld", "build"},
		{"bild", "build"},
		{"BUILT", "build"},
		{"buildr", "build"},
		{"tets", "test"},
		{"RNU", "RUN"},
		{"--chwon", "--chown"},
		{"production", ""},
		{"xy", ""},
		{"build", ""},
		{"", ""},
		{"tesst", "test"},
		{"tset1", "test"},
		{"st", ""},
	}
	for _, test := range tests {
		if got := Nearest(test.word, options); got != test.want {
			t.Errorf("Nearest(%q) = %q, want %q", test.word, got, test.want)
		}
	}
}
