package plugins

import (
	"crypto/sha256"
	"fmt"
	"testing"
)

// TestDigest: the digests are those of the modules. A binary without plugins, as "go test" alone makes one, has neither.
func TestDigest(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		module, err := Module(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := Digest(name), fmt.Sprintf("%x", sha256.Sum256(module)); got != want {
			t.Errorf("%s: digest %q, want %q", name, got, want)
		}
	}
	if got := Digest("../code/amd64/README"); got != "" {
		t.Errorf("digest %q of something that is no plugin", got)
	}
}
