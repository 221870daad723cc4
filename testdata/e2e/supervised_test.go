//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// matrixLine is a line of commands.txt, or what came of it.
type matrixLine struct{ name, want, code, stdout, stderr string }

// holds says whether an outcome is the wanted one.
func (l matrixLine) holds() bool {
	text, prints := strings.CutPrefix(l.want, "prints ")
	switch {
	case l.want == "fails":
		return l.code != "0"
	case prints:
		return l.code == "0" && strings.TrimSpace(l.stdout) == text
	}
	return l.want == "ok" && l.code == "0"
}

// testSupervised builds in a default container, where nothing can be mounted, an image with what people install, and runs
// what they run.
func (s *suite) testSupervised(t *testing.T) {
	ctx := t.Context()
	docker, err := s.docker()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.Abs("supervised")
	if err != nil {
		t.Fatal(err)
	}
	work, err := s.lab.Dir("supervised")
	if err != nil {
		t.Fatal(err)
	}
	const build = "/trowel build --isolation=supervised --progress=plain --cache-dir=/work/cache --work-dir=/work/work " +
		"--no-cache --build-arg BASE=$BASE /context 2>&1"
	log, err := docker.Run(ctx, "run", "--rm", "--network=host", "--env=BASE="+s.debian, "--volume="+s.subject.(trowel).binary+":/trowel:ro",
		"--volume="+dir+":/context:ro", "--volume="+work+":/work", s.debian, "sh", "-c", build+" || echo build failed")
	if err != nil || strings.Contains(log, "build failed") {
		t.Fatalf("%v\n%s", err, log)
	}
	outcomes := matrixOutcomes(t, log)
	for _, want := range matrixCommands(t, filepath.Join(dir, "commands.txt")) {
		got, ran := outcomes[want.name]
		if got.want = want.want; !ran || !got.holds() {
			t.Errorf("%s: want %s, got exit code %q\n%s\n%s", want.name, want.want, got.code, got.stdout, got.stderr)
		}
	}
	for _, notice := range []string{
		`"/usr/bin/sudo" was run by user 1000 and did not get the rights of user 0`,
		`"/w/i386" was ended: it makes system calls of another architecture`,
	} {
		if !strings.Contains(log, notice) {
			t.Errorf("the log does not say %q", notice)
		}
	}
}

func matrixCommands(t *testing.T, path string) []matrixLine {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []matrixLine
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(line, "|", 3)
		if len(fields) == 3 && !strings.HasPrefix(line, "#") {
			lines = append(lines, matrixLine{name: strings.TrimSpace(fields[0]), want: strings.TrimSpace(fields[1])})
		}
	}
	if len(lines) < 50 {
		t.Fatalf("%s has only %d commands", path, len(lines))
	}
	return lines
}

func matrixOutcomes(t *testing.T, log string) map[string]matrixLine {
	t.Helper()
	outcomes := map[string]matrixLine{}
	for line := range strings.Lines(log) {
		_, line, found := strings.Cut(strings.TrimSpace(line), " matrix|")
		fields := strings.Split(line, "|")
		if !found || len(fields) != 4 {
			continue
		}
		stdout, outErr := base64.StdEncoding.DecodeString(fields[2])
		stderr, err := base64.StdEncoding.DecodeString(fields[3])
		if outErr != nil || err != nil {
			t.Fatal(fmt.Errorf("line %q: %w", line, err))
		}
		outcomes[fields[0]] = matrixLine{name: fields[0], code: fields[1], stdout: string(stdout), stderr: string(stderr)}
	}
	return outcomes
}
