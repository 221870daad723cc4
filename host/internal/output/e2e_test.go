//go:build e2e

package output

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/host/internal/image"
)

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Other tools read what is written: layouts and archives, in both formats, down to the files.
func TestOtherToolsRead(t *testing.T) {
	t.Parallel()
	for _, format := range []image.Format{image.OCI, image.Docker} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			m := testImage(t, format, "x", "example.com/app:1")
			outputs := []Spec{{Type: TypeDocker, Dest: filepath.Join(dir, "docker.tar")}}
			sources := []string{"docker-archive:" + dir + "/docker.tar:example.com/app:1", "docker-archive:" + dir + "/docker.tar"}
			if format == image.OCI {
				outputs = append(outputs,
					Spec{Type: TypeOCI, Form: FormDirectory, Dest: filepath.Join(dir, "layout")}, Spec{Type: TypeOCI, Dest: filepath.Join(dir, "oci.tar")})
				sources = append(sources, "oci:"+dir+"/layout:1", "oci-archive:"+dir+"/oci.tar:1")
			}
			for _, s := range outputs {
				if err := Write(t.Context(), s, Request{Image: &m}); err != nil {
					t.Fatal(err)
				}
			}
			for i, from := range sources {
				to := filepath.Join(dir, "copy", string(rune('a'+i)))
				if err := os.MkdirAll(to, 0o755); err != nil {
					t.Fatal(err)
				}
				run(t, "skopeo", "copy", "--insecure-policy", from, "oci:"+to+":1")
				run(t, "umoci", "unpack", "--rootless", "--image", to+":1", to+"/bundle")
				for _, name := range []string{"a", "b"} {
					content, err := os.ReadFile(filepath.Join(to, "bundle/rootfs", name))
					if err != nil || string(content) != "x"+name {
						t.Errorf("%s: file %s holds %q, error %v", from, name, content, err)
					}
				}
			}
			if out := run(t, "skopeo", "inspect", "--config", "docker-archive:"+dir+"/docker.tar"); !strings.Contains(out, `"/a"`) {
				t.Errorf("skopeo inspect: %s", out)
			}
			if format == image.OCI {
				if out := run(t, "umoci", "stat", "--image", dir+"/layout:1"); !strings.Contains(out, "COPY a") {
					t.Errorf("umoci stat: %s", out)
				}
			}
		})
	}
}
