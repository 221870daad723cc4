//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/bench/lab"
)

// gitlabLocal runs GitLab's jobs with a Docker engine. Later versions want a newer Node than Debian's.
const gitlabLocal = "gitlab-ci-local@4.61.1"

// ciPrints is what the image of examples/ci/app prints.
const ciPrints = "app built this\n"

// testCI does what the files in examples/ci say, each as its kind of CI would.
func (s *suite) testCI(t *testing.T, w workshop) {
	t.Run("gitlab", func(t *testing.T) {
		reference := s.reference("ci/gitlab", "latest")
		s.gitlab(t, w, strings.TrimSuffix(reference, ":latest"))
		s.prints(t, w, reference)
	})
	for _, job := range []struct {
		file string
		run  []string // arguments of docker run
	}{
		{"kubernetes.yaml", nil},
		{"kubernetes-hostusers.yaml", []string{
			"--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined",
			"-v", "@STATE@:/state", "-e", "TROWEL_ISOLATION=namespaces", "-e", "TROWEL_WORK_DIR=/state/work",
		}},
		{"tekton.yaml", []string{"-u", "0"}},
	} {
		t.Run(job.file, func(t *testing.T) {
			text := s.exampleText(t, w, job.file)
			args := jobArgs(t, text)
			for _, name := range []string{"TROWEL_ISOLATION", "TROWEL_WORK_DIR", "SYS_ADMIN"} {
				if strings.Contains(text, name) != strings.Contains(strings.Join(job.run, " "), name) {
					t.Errorf("%s is said by one of the example and this test", name)
				}
			}
			reference := s.inContainer(t, w, job.run, args)
			s.prints(t, w, reference)
		})
	}
	t.Run("Jenkinsfile", func(t *testing.T) {
		_, script, found := strings.Cut(s.exampleText(t, w, "Jenkinsfile"), "sh '''#!/busybox/sh\n")
		script, _, closed := strings.Cut(script, "'''")
		if !found || !closed {
			t.Fatal("no script in the Jenkinsfile")
		}
		reference := s.registry.Address + "/team/app:1"
		out, err := w.docker.Run(t.Context(), "run", "--rm", "--network=host", "-v", ciApp(t, s)+":/home/agent/app:ro", "-e", "WORKSPACE=/home/agent",
			"--entrypoint=/busybox/sh", w.image, "-c", script)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out, "sha256:") {
			t.Errorf("the script printed %q, not a digest", out)
		}
		s.prints(t, w, reference)
	})
}

// prints runs an image, and removes it from the engine, so that the next one is pulled.
func (s *suite) prints(t *testing.T, w workshop, reference string) {
	t.Helper()
	got, err := w.docker.Run(t.Context(), "run", "--rm", "--network=none", "--pull=always", "-q", reference)
	if err != nil || got != ciPrints {
		t.Errorf("the image printed %q, want %q: %v", got, ciPrints, err)
	}
}

// exampleText is a file of examples/ci with the addresses that it has here.
func (s *suite) exampleText(t *testing.T, w workshop, name string) string {
	t.Helper()
	root, err := lab.SourceRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "examples", "ci", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("registry.example.com/trowel:debug", w.image, "registry.example.com/trowel:executor", w.image,
		"registry.example.com", s.registry.Address).Replace(string(text))
}

// ciApp is the directory app of the examples, for this registry.
func ciApp(t *testing.T, s *suite) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"Dockerfile", "start"} {
		mustWrite(t, filepath.Join(dir, name), s.exampleText(t, workshop{}, filepath.Join("app", name)), 0o755)
	}
	return dir
}

// jobArgs are the arguments of the container, as a manifest lists them.
func jobArgs(t *testing.T, text string) (args []string) {
	t.Helper()
	replace := strings.NewReplacer("$(params.DOCKERFILE)", "./Dockerfile", "$(params.CONTEXT)", "./", "$(workspaces.source.path)", "/workspace",
		"$(results.IMAGE_DIGEST.path)", "/dev/termination-log")
	for _, match := range regexp.MustCompile(`(?m)^\s+- (--\S+)$`).FindAllStringSubmatch(text, -1) {
		args = append(args, replace.Replace(match[1]))
	}
	if len(args) == 0 {
		t.Fatal("no arguments in the example")
	}
	return args
}

// inContainer runs Trowel's image as a pod would, and returns what it built. The digest has to be where it was asked for.
func (s *suite) inContainer(t *testing.T, w workshop, run, args []string) (reference string) {
	t.Helper()
	reference = s.registry.Address + "/team/app:1"
	dir := t.TempDir()
	digest := filepath.Join(dir, "digest")
	mustWrite(t, digest, "", 0o644)
	mustWrite(t, filepath.Join(dir, "config.json"), "{}", 0o644)
	words := []string{"run", "--rm", "--network=host", "-v", ciApp(t, s) + ":/workspace", "-v", dir + ":/kaniko/.docker:ro", "-v", digest + ":/dev/termination-log"}
	for _, word := range run {
		words = append(words, strings.ReplaceAll(word, "@STATE@", t.TempDir()))
	}
	words = append(words, w.image)
	for _, arg := range args {
		words = append(words, strings.ReplaceAll(arg, "$(params.IMAGE)", reference))
	}
	if out, err := w.docker.Command(t.Context(), words...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", words, err, out)
	}
	text, err := os.ReadFile(digest)
	if err != nil || !strings.HasPrefix(string(text), "sha256:") {
		t.Errorf("the digest file has %q: %v", text, err)
	}
	return reference
}

// gitlab runs the job of examples/ci/gitlab-ci.yml as a runner would: in a container of Trowel's image, the repository in a
// volume, the script in the image's shell.
func (s *suite) gitlab(t *testing.T, w workshop, repository string) {
	t.Helper()
	must(t, s.lab.Install(t.Context(), "npm", "rsync", "git"))
	dir, tool := t.TempDir(), t.TempDir()
	mustWrite(t, filepath.Join(dir, ".gitlab-ci.yml"), s.exampleText(t, w, "gitlab-ci.yml"), 0o644)
	if err := os.CopyFS(filepath.Join(dir, "app"), os.DirFS(ciApp(t, s))); err != nil {
		t.Fatal(err)
	}
	do := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "DOCKER_HOST="+w.docker.Host(), "HOME="+tool)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
		}
		return string(out)
	}
	do("git", "init", "-q", "-b", "main")
	do("git", "add", "-A")
	do("git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "first")
	do("git", "remote", "add", "origin", "https://gitlab.example.com/team/app.git")
	do("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", tool, gitlabLocal)
	// What it does on its own, it does in the base: to copy the repository.
	if _, err := w.docker.Run(t.Context(), "pull", "-q", s.debian); err != nil {
		t.Fatal(err)
	}
	out := do(filepath.Join(tool, "node_modules", ".bin", "gitlab-ci-local"), "--network=host", "--pull-policy=if-not-present", "--helper-image="+s.debian,
		"--no-json-schema-validation", "--variable=CI_REGISTRY="+s.registry.Address, "--variable=CI_REGISTRY_IMAGE="+repository,
		"--variable=CI_COMMIT_SHORT_SHA=latest", "--variable=CI_REGISTRY_USER=job", "--variable=CI_REGISTRY_PASSWORD=secret", "build")
	if !strings.Contains(out, "PASS") {
		t.Errorf("the job did not pass:\n%s", out)
	}
}
