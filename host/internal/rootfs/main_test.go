package rootfs_test

import (
	"testing"

	"github.com/trowel-build/trowel/host/internal/rootfs/rootfstest"
)

func TestMain(m *testing.M) { rootfstest.Main(m) }

// TestUserNamespace runs the tests where one id is mapped and overlayfs's marks are other ones.
func TestUserNamespace(t *testing.T) {
	if rootfstest.InNamespace() {
		return // this is the run in the namespace
	}
	t.Parallel()
	rootfstest.Again(t)
}
