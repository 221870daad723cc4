package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inheritBase is an image of two layers. What follows starts from it.
const inheritBase = `
FROM scratch AS made
COPY sh /bin/sh
COPY text /usr/share/a/text
COPY text /usr/share/b/text
COPY text /etc/text
COPY text /kept
RUN mkdir -p /tmp /usr/share/empty && chmod 1777 /tmp && ln /kept /usr/share/link
FROM scratch AS base
COPY --from=made / /
COPY text /second
`

// spoil is a RUN that changes what it finds, and lookAtBase one that shows it to the image.
const (
	spoil = `RUN cat /usr/share/a/text > /out && echo evil > /usr/share/a/text && chmod 4777 /kept && echo x > /usr/share/new && rm /etc/text && ` +
		`mv /usr/share/b /usr/share/c && echo more > /tmp/more && chmod 0777 /tmp /usr/share/empty` + "\n"
	lookAtBase = `RUN cat /usr/share/a/text /usr/share/b/text /etc/text /kept /second > /seen && stat /kept >> /seen && stat /tmp >> /seen && ` +
		`stat /usr/share/empty >> /seen && stat /usr/share/link >> /seen && ls /usr/share >> /seen && ls /usr/share/a >> /seen && ls /tmp >> /seen` + "\n"
)

// TestInherit builds in place what starts from one base several times. A stage that needs another has its directory: the image
// is that of the same stages in namespaces, where each has its own.
func TestInherit(t *testing.T) {
	t.Parallel()
	if os.Getenv(envShell) != "" || !hasInitially(unix.CAP_SYS_ADMIN) {
		return
	}
	trowel, shell := compileBuilder(t)
	from := func(name string) string { return "FROM image AS " + name + "\n" }
	copied := func(name string) string { return "COPY --from=" + name + " /out /" + name + "\n" }
	for name, tt := range map[string]struct {
		dockerfile, flags string
		inherited         int
	}{
		"two":                     {from("a") + spoil + from("b") + lookAtBase + copied("a"), "", 1},
		"two with the copy first": {from("a") + spoil + from("b") + copied("a") + lookAtBase, "", 1},
		"five": {
			from("a") + spoil + from("b") + copied("a") + spoil + from("c") + copied("b") + spoil + from("d") + copied("c") + copied("b") + spoil +
				from("e") + copied("d") + "ENV A=1\n" + lookAtBase, "", 4,
		},
		"two of one":        {from("a") + spoil + from("b") + copied("a") + "RUN cat /second /a > /out\n" + from("c") + lookAtBase + copied("a") + copied("b"), "", 2},
		"independent":       {from("a") + spoil + from("b") + "RUN echo b > /out\n" + from("c") + copied("a") + copied("b"), "", 0},
		"one from another":  {from("a") + spoil + "FROM a AS b\n" + "RUN cat /usr/share/a/text > /seen\n" + copied("a"), "", 0},
		"a step in common":  {from("a") + lookAtBase + spoil + from("b") + lookAtBase + copied("a") + "RUN echo > /out\n" + from("c") + copied("a") + copied("b"), "", 0},
		"one stage at once": {from("a") + spoil + from("b") + lookAtBase + copied("a"), "--jobs 1", 0},
		"nothing to do":     {"FROM scratch AS a\nCOPY sh /bin/sh\nRUN echo > /out\nFROM scratch AS b\nCOPY --from=a /out /out\nCOPY sh /bin/sh\nRUN cat /out", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const build = "trowel build --progress plain --rewrite-timestamp --build-context image=oci-layout:///layout -o type=oci,dest=/out.tar "
			said, err := buildInPlace(t, trowel, shell, inheritBase+tt.dockerfile, "export SOURCE_DATE_EPOCH=1700000000 && "+
				"trowel build --isolation=inplace --rewrite-timestamp --target base -o type=oci,dest=/layout,tar=false /context && "+
				"echo MADE $("+build+"--isolation=inplace "+tt.flags+" /context)")
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			if got := strings.Count(said, "has the root file system that stage"); got != tt.inherited {
				t.Errorf("%d stages have another's root file system, want %d, in\n%s", got, tt.inherited, said)
			}
			if strings.Contains(said, "unpacks its base, though") {
				t.Errorf("a root file system was given away for nothing:\n%s", said)
			}
			made := regexp.MustCompile(`MADE (sha256:[0-9a-f]{64})`).FindStringSubmatch(said)
			if made == nil {
				t.Fatalf("no digest in\n%s", said)
			}
			if tt.inherited == 0 {
				return
			}
			if want := inNamespaces(t, trowel, shell, inheritBase+tt.dockerfile); made[1] != want {
				t.Errorf("in place the image is %s, in namespaces %s", made[1], want)
			}
		})
	}
}

// inNamespaces builds the image that starts from inheritBase in namespaces, and returns its digest.
func inNamespaces(t *testing.T, trowel, shell, dockerfile string) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(os.MkdirAll(at("ctx"), 0o755), os.Link(shell, at("ctx/sh")),
		os.WriteFile(at("ctx/Dockerfile"), []byte(dockerfile), 0o644), os.WriteFile(at("ctx/text"), []byte("text"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	build := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, trowel, append([]string{
			"build", "--no-local-cache", "--work-dir", at("work"), "--progress", "plain", "--isolation", "namespaces", "--rewrite-timestamp",
		}, append(args, at("ctx"))...)...)
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, said.String())
		}
		return strings.TrimSpace(string(out))
	}
	build("--target", "base", "-o", "type=oci,tar=false,dest="+at("layout"))
	return build("--build-context", "image=oci-layout://"+at("layout"), "-o", "type=oci,dest="+at("out.tar"))
}
