//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/bench/lab"
	"github.com/trowel-build/trowel/testdata/lesson"
)

// TestExamples does what the READMEs of the examples say that take more than Go. The same instruction in four languages makes
// the same image, and each plugin is what the contract wants.
func TestExamples(t *testing.T) {
	root, err := lab.SourceRoot()
	must(t, err)
	installCompilers(t)
	trowel := os.Getenv("TROWEL")
	bin := t.TempDir()
	if trowel == "" {
		trowel = filepath.Join(bin, "trowel")
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", trowel, "./cmd/trowel")
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("compile trowel: %v\n%s", err, out)
		}
	} else {
		must(t, os.Symlink(trowel, filepath.Join(bin, "trowel")))
	}
	digests := map[string]string{}
	for _, name := range []string{"instruction-go", "instruction-c", "instruction-rust", "instruction-as"} {
		t.Run(name, func(t *testing.T) {
			e := &exampleRun{bin: bin}
			e.lesson, err = lesson.Open(root, name, t.TempDir())
			must(t, err)
			e.do(t, e.lesson.Script)
			digests[name] = e.do(t, "trowel build --no-cache -q -o type=oci,dest=out/image.tar app")
			e.do(t, "trowel plugin test 2>&1")
			if name == "instruction-go" {
				return // whose files a scenario looks at
			}
			if got, err := os.ReadFile(filepath.Join(e.lesson.Dir, "out", "etc", "greeting")); err != nil || string(got) != "Hello, world\n" {
				t.Errorf("/etc/greeting is %q: %v", got, err)
			}
		})
	}
	for name, digest := range digests {
		if digest == "" || digest != digests["instruction-go"] {
			t.Errorf("%s made the image %q, and instruction-go %q", name, digest, digests["instruction-go"])
		}
	}
	for _, name := range []string{"cache", "credential"} {
		t.Run(name, func(t *testing.T) {
			e := &exampleRun{bin: bin}
			e.lesson, err = lesson.Open(root, name, t.TempDir())
			must(t, err)
			e.do(t, "trowel plugin build && trowel plugin test 2>&1")
		})
	}
}

// exampleRun runs commands in a copy of an example.
type exampleRun struct {
	bin    string // the directory of trowel
	lesson lesson.Lesson
}

// do runs commands and returns what they print.
func (e *exampleRun) do(t *testing.T, script string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
	cmd.Dir, cmd.Stdout, cmd.Stderr = e.lesson.Dir, &stdout, &stderr
	cmd.Env = append(os.Environ(), "PATH="+e.bin+":"+os.Getenv("PATH"), "SOURCE_DATE_EPOCH=0", "XDG_CACHE_HOME="+filepath.Join(e.lesson.Dir, "out"))
	goCache, err := exec.Command("go", "env", "GOCACHE").Output()
	must(t, err)
	cmd.Env = append(cmd.Env, "GOCACHE="+strings.TrimSpace(string(goCache)), "GOFLAGS=-trimpath")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", script, err, &stdout, &stderr)
	}
	return stdout.String()
}

// installCompilers installs what the READMEs say, unless it is there.
func installCompilers(t *testing.T) {
	t.Helper()
	packages := []string{"clang", "lld", "rustc", "libstd-rust-dev-wasm32", "nodejs", "npm"}
	var missing []string
	for _, p := range packages {
		status, err := exec.CommandContext(t.Context(), "dpkg-query", "-W", "-f=${Status}", p).Output()
		tool := map[string]string{"nodejs": "node", "npm": "npm"}[p]
		if _, there := exec.LookPath(tool); tool != "" && there == nil {
			continue // however it came
		}
		if err != nil || !strings.HasSuffix(string(status), "ok installed") {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return
	}
	command(t, "apt-get", "update")
	command(t, "env", append([]string{"DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends"}, missing...)...)
}
