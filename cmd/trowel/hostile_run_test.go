package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestHostileRun runs what does not want to end well, as root and as an ordinary user.
func TestHostileRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dockerfile string   // after FROM
		want       []string // none: it succeeds
		shown      string
	}{
		"command not found": {dockerfile: "RUN no-such-command", want: []string{`Dockerfile:2`, `127`, `> 2 \|`}},
		"program not found": {dockerfile: `RUN ["/no/such"]`, want: []string{`Dockerfile:2`, `"/no/such"`}},
		"not in PATH":       {dockerfile: `RUN ["nowhere"]`, want: []string{`Dockerfile:2`, `"nowhere"`, `PATH`}},
		"exec format":       {dockerfile: "COPY --chmod=755 garbage /garbage\nRUN [\"/garbage\"]", want: []string{`Dockerfile:3`, `"/garbage"`, `format`}},
		"not executable":    {dockerfile: "COPY --chmod=644 garbage /garbage\nRUN [\"/garbage\"]", want: []string{`Dockerfile:3`, `"/garbage"`, `permission denied`}},
		"directory":         {dockerfile: `RUN ["/etc"]`, want: []string{`Dockerfile:2`, `"/etc"`}},
		"exit code":         {dockerfile: "RUN exit 137", want: []string{`Dockerfile:2`, `137`}},
		"killed":            {dockerfile: "RUN [\"/bin/wicked\", \"die\"]", want: []string{`Dockerfile:2`, `(?i)kill`}},
		"unknown user":      {dockerfile: "USER nobody-here\nRUN true", want: []string{`Dockerfile:3`, `nobody-here`}},
		"unknown group":     {dockerfile: "USER app:nobody-here\nRUN true", want: []string{`Dockerfile:3`, `nobody-here`}},
		"uid out of range":  {dockerfile: "USER 99999999999\nRUN true", want: []string{`Dockerfile:3`, `99999999999`}},
		"workdir is a file": {dockerfile: "COPY garbage /x\nWORKDIR /x\nRUN true", want: []string{`Dockerfile:3`, `/x`}},
		"workdir is gone":   {dockerfile: "WORKDIR /w/d\nRUN rm -r /w\nRUN echo back > f", want: nil},
		"workdir leads out": {dockerfile: "RUN ln -s / /w\nWORKDIR /w/../../..$CANARY\nRUN echo dead > file", want: nil},
		"daemon":            {dockerfile: `RUN ["/bin/wicked", "daemon"]`, shown: `started`},
		"kills all it sees": {dockerfile: `RUN ["/bin/wicked", "kill-all"]`, want: []string{`Dockerfile:2`, `exit code 1`}},
		"much output":       {dockerfile: `RUN ["/bin/wicked", "spew", "50000000", "lines"]`, want: nil},
		"one endless line":  {dockerfile: `RUN ["/bin/wicked", "spew", "100000000"]`, want: nil},
		"terminal":          {dockerfile: `RUN ["/bin/wicked", "paint"]`, shown: `red`},
		"empty command":     {dockerfile: `RUN []`, want: []string{`Dockerfile:2`}},
		"NUL":               {dockerfile: "RUN [\"/bin/sh\", \"-c\", \"a\\u0000b\"]", want: []string{`Dockerfile:2`}},
		"long argument":     {dockerfile: "ARG a=" + strings.Repeat("x", 60000) + "\nENV b=$a$a$a$a\nRUN true", want: []string{`Dockerfile:4`, `(?i)argument list too long`}},
	} {
		for _, who := range []string{"root", "user"} {
			t.Run(name+"/"+who, func(t *testing.T) {
				t.Parallel()
				needRun(t)
				var options []siteOption
				if who == "user" {
					options = append(options, asUser)
				}
				s := newSite(t, options...)
				base := s.pushBase(t, "1", wicked(t))
				s.write("garbage", "\x01\x02 this is no program")
				s.write("Dockerfile", "FROM "+base+"\n"+strings.ReplaceAll(c.dockerfile, "$CANARY", s.canary)+"\n")
				s.own()
				o := s.build()
				t.Logf("%v %d MiB, exit code %d: %s", o.took, o.memory>>20, o.code, complaint(o.stderr))
				if o.took > 30*time.Second {
					t.Errorf("it took %v", o.took)
				}
				if plain := colour.ReplaceAllString(o.stderr, ""); unprintable.MatchString(plain) {
					t.Errorf("control characters reach the terminal: %q", unprintable.FindString(plain))
				}
				if c.want != nil {
					s.refused(o, c.want...)
					return
				}
				s.succeeded(o)
				if !strings.Contains(o.stderr, c.shown) {
					t.Errorf("%q is not shown:\n%s", c.shown, o.stderr)
				}
			})
		}
	}
}

// TestHostileVariables expands variables without end.
func TestHostileVariables(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"doubled":  "ENV a=xxxxxxxxxx\n" + strings.Repeat("ENV a=$a$a\n", 40),
		"ARG":      "ARG a=xxxxxxxxxx\n" + strings.Repeat("ARG a=$a$a\n", 40),
		"label":    "ENV a=" + strings.Repeat("x", 60000) + "\nLABEL b=" + strings.Repeat("$a", 30000) + "\n",
		"replaced": "ENV a=" + strings.Repeat("x", 60000) + "\nENV b=$a$a$a$a$a$a$a$a\nENV c=${b//x/$b}\n",
		"many":     "ENV a=" + strings.Repeat("x", 60000) + "\n" + strings.Repeat("ENV b=$a$a$a$a$a$a$a$a$a$a\n", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.write("Dockerfile", "FROM scratch\n"+text)
			s.own()
			o := s.build()
			t.Logf("%v %d MiB, exit code %d: %.300s", o.took, o.memory>>20, o.code, complaint(o.stderr))
			s.refused(o, `Dockerfile:\d+`, `longer|more than`)
		})
	}
}

// colour is the one escape sequence that output may have.
var colour = regexp.MustCompile(`\x1b\[[0-9;:]*m`)

// wicked is a layer with the program of that name.
func wicked(t *testing.T) []byte {
	t.Helper()
	program, err := wickedProgram()
	must(t, err)
	f := file("bin/wicked", string(program))
	f.Mode = 0o755
	return pack(t, f)
}

var wickedProgram = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "wicked-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	at := filepath.Join(dir, "wicked")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", at, "./testdata/wicked")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the wicked program: %w\n%s", err, out)
	}
	return os.ReadFile(at)
})
