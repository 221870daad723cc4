package stage

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/effect"
)

// TestEnvironment gives variables twice: a secret wins over a proxy, and that over the image's; each is there once.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	x := effect.Exec{Env: []string{"A=image", "B=image", "C=image"}, Unkeyed: []string{"B=proxy", "C=proxy"}}
	want := []string{"A=image", "B=proxy", "C=secret", "D=secret=x", "HOME=/home/app"}
	if diff := cmp.Diff(want, environment(x, []string{"C=secret", "D=secret=x"}, "/home/app")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	x.Env = append(x.Env, "HOME=/own")
	if diff := cmp.Diff([]string{"A=image", "B=proxy", "C=proxy", "HOME=/own"}, environment(x, nil, "/home/app")); diff != "" {
		t.Errorf("HOME of the image (-want +got):\n%s", diff)
	}
}
