package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/testdata/boximage"
)

// In a container that a build makes, another builds in place. The stage "pre" has the root directory first and for long, and
// "other" needs it: the first RUN of "main" is over when that of "other" starts.
const inPlaceStages = `
FROM scratch AS pre
COPY sh /bin/sh
RUN sleep 1
FROM pre AS other
RUN OTHER && echo 1 > /done
FROM scratch AS main
COPY --chmod=4755 sh /bin/sh
RUN --mount=type=bind,source=text,target=/shown echo 1 > /first
COPY --from=other /done /done
RUN --mount=type=bind,source=text,target=/shown cat /shown > /second
`

// TestInPlaceAcrossStages holds that what a RUN in place does to the files of another stage is no part of that stage's layers.
func TestInPlaceAcrossStages(t *testing.T) {
	t.Parallel()
	if os.Getenv(envShell) != "" || !hasInitially(unix.CAP_SYS_ADMIN) {
		return
	}
	trowel, shell := compileBuilder(t)
	const find = `for d in /.trowel/work/*/*/*; do if test -e $d/first && test ! -e $d/etc/hosts; then `
	for name, tt := range map[string]struct {
		other string
		want  []string // in what the build inside says; none if it shall work
	}{
		"nothing": {other: "true"},
		"modes": {other: "chmod -R 0755 /.trowel/work", want: []string{
			`the root file system of stage "main" was changed by a RUN that has nothing to do with it: "/`, "/.trowel -prune",
		}},
		"deleted": {other: find + "rm $d/first; fi; done", want: []string{`of stage "main" was changed`, `"/first"`}},
		"mount": {
			other: `for f in /.trowel/work/*/*/*/source; do echo evil > $f; done`,
			want:  []string{"what RUN --mount shows of the build context was changed", `"/source"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, err := buildInPlace(t, trowel, shell, strings.ReplaceAll(inPlaceStages, "OTHER", tt.other),
				"trowel build --progress plain --isolation=inplace -o type=oci,dest=/out.tar /context")
			if (err == nil) != (len(tt.want) == 0) {
				t.Fatalf("%v\n%s", err, said)
			}
			for _, text := range tt.want {
				if !strings.Contains(said, text) {
					t.Errorf("want %q in\n%s", text, said)
				}
			}
		})
	}
}

// TestForce holds that kaniko's --force lets RUN be in place in a container that does not say that it may.
func TestForce(t *testing.T) {
	t.Parallel()
	if os.Getenv(envShell) != "" || !hasInitially(unix.CAP_SYS_ADMIN) {
		return
	}
	trowel, shell := compileBuilder(t)
	// Without it there is nothing to run by: where the builder's own root opens no device nodes a chroot has none either.
	for flag, want := range map[string]string{"": "run in place: nobody has said", "--force": "RUN is isolated by inplace"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			said, err := buildInPlace(t, trowel, shell, "FROM scratch\nCOPY sh /bin/sh\nRUN true\n", "trowel executor --log-format text --no-push -f Dockerfile -c /context "+flag)
			if (err == nil) != (flag != "") || !strings.Contains(said, want) {
				t.Errorf("%v, want %q in\n%s", err, want, said)
			}
		})
	}
}

// TestCovered holds that what RUN in place could not see, as the container has a mount there, fails the build before anything ran
// where the Dockerfile tells, and else before the stage's first RUN waits for another stage's.
func TestCovered(t *testing.T) {
	t.Parallel()
	if os.Getenv(envShell) != "" || !hasInitially(unix.CAP_SYS_ADMIN) {
		return
	}
	trowel, shell := compileBuilder(t)
	const ran = "this was done"
	const one = "FROM scratch AS one\nCOPY sh /bin/sh\nRUN echo this was $X done\n"
	const build = "trowel build --progress plain --isolation=inplace -o type=oci,dest=/out.tar /context "
	for name, tt := range map[string]struct{ dockerfile, command, want string }{
		"copied":                        {one + "FROM one\nCOPY text /builds/app/\nRUN true\n", build, `show in place "/builds/app"`},
		"copied to the mount":           {one + "FROM one\nCOPY text /builds/\nRUN true\n", build, `show in place "/builds"`},
		"copied in the base":            {one + "FROM scratch AS two\nCOPY sh /bin/sh\nCOPY text /builds/app\nFROM two\nCOPY --from=one /bin/sh /sh\nRUN true\n", build, `show in place "/builds/app"`},
		"directory":                     {one + "FROM one\nWORKDIR /builds/app\nRUN true\n", build, `show in place "/builds/app"`},
		"the mount itself":              {one + "FROM one\nWORKDIR /builds\nRUN true\n", build, ""},
		"after the last RUN":            {one + "FROM one\nRUN true\nCOPY text /builds/app\n", build, ""},
		"in a stage of no RUN":          {one + "FROM scratch\nCOPY --from=one /bin/sh /builds/sh\n", build, ""},
		"where all containers have one": {one + "FROM one\nCOPY text /etc/hosts\nRUN true\n", build, ""},
		"in an image": {
			"FROM scratch AS base\nCOPY sh /bin/sh\nCOPY text /builds/app\nFROM scratch AS one\nCOPY sh /bin/sh\nRUN sleep 60 && echo this was $X done\n" +
				"FROM image\nRUN true\nCOPY --from=one /bin/sh /sh\n",
			"trowel build --target base -o type=oci,dest=/layout,tar=false /context && " + build + "--build-context image=oci-layout:///layout", `show in place "/builds/app"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, err := buildInPlace(t, trowel, shell, tt.dockerfile, tt.command)
			if (err == nil) != (tt.want == "") || !strings.Contains(said, tt.want) {
				t.Fatalf("%v, want %q in\n%s", err, tt.want, said)
			}
			if strings.Contains(said, ran) == (tt.want != "") {
				t.Errorf("a RUN was run, or not, in\n%s", said)
			}
		})
	}
}

// compileBuilder makes programs that need no libraries.
func compileBuilder(t *testing.T) (trowel, shell string) {
	t.Helper()
	dir := t.TempDir()
	trowel, shell = filepath.Join(dir, "trowel"), filepath.Join(dir, "sh")
	compile := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", trowel, ".")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := boximage.Compile(t.Context(), "../..", shell); err != nil {
		t.Fatal(err)
	}
	return trowel, shell
}

// buildInPlace builds a Dockerfile in place, in a container with no more than the builder and a shell.
func buildInPlace(t *testing.T, trowel, shell, dockerfile, command string) (said string, err error) {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	err = errors.Join(os.MkdirAll(at("ctx/inner"), 0o755),
		os.Link(trowel, at("ctx/trowel")), os.Link(shell, at("ctx/sh")), os.Link(shell, at("ctx/inner/sh")),
		os.WriteFile(at("ctx/inner/Dockerfile"), []byte(dockerfile), 0o644), os.WriteFile(at("ctx/inner/text"), []byte("text"), 0o644),
		os.WriteFile(at("ctx/Dockerfile"), []byte("FROM scratch\nENV HOME=/root\nCOPY sh trowel /bin/\nCOPY inner /inner\nRUN --mount=type=tmpfs,target=/builds mkdir -p /tmp /root && mv /inner /context && "+command+"\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // where what a build waits for never comes
	defer cancel()
	cmd := exec.CommandContext(ctx, trowel, "build", "--no-local-cache", "--work-dir", at("work"), "--progress", "plain", "--isolation", "namespaces", at("ctx"))
	cmd.WaitDelay = 10 * time.Second // for the output of what it leaves
	out, err := cmd.CombinedOutput()
	return string(out), err
}
