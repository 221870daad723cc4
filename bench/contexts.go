package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// benchCase is one line of the report.
type benchCase struct {
	name    string
	context string // directory of its build context
	// prepare is a context built before the clock starts, with what it leaves in the cache kept; empty for a cold
	// build.
	prepare string
}

// benchCases returns the cases in the order of the report.
func benchCases() []benchCase {
	return []benchCase{
		{name: "steps", context: "steps"},       // 20 tiny RUNs: what an instruction costs
		{name: "copyonly", context: "copyonly"}, // no RUN, so the base need not be unpacked
		// The base was used before, the image was not.
		{name: "copyonly-known", context: "copyonly", prepare: "otherfile"},
		{name: "tree", context: "tree"},     // 11,000 files
		{name: "blob", context: "blob"},     // 512 MiB in one layer
		{name: "stages", context: "stages"}, // four independent stages
		{name: "app", context: "app"},       // what a CI job does
		{name: "app-unchanged", context: "app", prepare: "app"},
	}
}

func caseNames() []string {
	var names []string
	for _, c := range benchCases() {
		names = append(names, c.name)
	}
	return names
}

// makeContexts makes the build contexts below dir, upon library/debian:12 of the registry.
func makeContexts(ctx context.Context, dir, registry string) error {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("find the Go distribution: %w", err)
	}
	goroot := strings.TrimSpace(string(root))
	from := "FROM " + registry + "/library/debian:12"
	for name, text := range dockerfiles(from) {
		if err := write(filepath.Join(dir, name, "Dockerfile"), text); err != nil {
			return err
		}
	}
	copies := []struct{ from, to string }{
		{"src", "tree/src/go"},
		{"src/encoding", "app/src/encoding"},
		{"src/strconv", "app/src/strconv"},
		{"bin/gofmt", "copyonly/app"},
		{"VERSION", "otherfile/app"},
	}
	for _, c := range copies {
		if err := copyTree(filepath.Join(goroot, c.from), filepath.Join(dir, c.to)); err != nil {
			return fmt.Errorf("make build contexts: %w", err)
		}
	}
	return nil
}

// dockerfiles returns the Dockerfile of each context.
func dockerfiles(from string) map[string]string {
	var steps, stages strings.Builder
	fmt.Fprintln(&steps, from)
	for i := range 20 {
		fmt.Fprintf(&steps, "RUN echo %d > /file%d\n", i+1, i+1)
	}
	for _, stage := range []string{"a", "b", "c", "d"} {
		fmt.Fprintf(&stages, "%s AS %s\nRUN sleep 2 && mkdir /out && for i in $(seq 1 300); do echo $i > /out/%s$i; done\n", from, stage, stage)
	}
	fmt.Fprintln(&stages, from)
	for _, stage := range []string{"a", "b", "c", "d"} {
		fmt.Fprintf(&stages, "COPY --from=%s /out /out\n", stage)
	}
	return map[string]string{
		"steps":  steps.String(),
		"stages": stages.String(),
		"tree": from + `
WORKDIR /app
COPY src /app/src
RUN find /app/src -type f | wc -l > /app/count
`,
		"blob": from + `
RUN head -c 268435456 /dev/urandom > /random && for i in $(seq 1 70); do cat /usr/bin/perl; done > /binary
`,
		"copyonly": from + `
COPY app /usr/local/bin/app
ENTRYPOINT ["/usr/local/bin/app"]
`,
		"otherfile": from + `
COPY app /opt/version
`,
		"app": from + ` AS build
WORKDIR /src
COPY src/strconv ./strconv
RUN find . -name '*.go' | sort | xargs sha256sum > /strconv.sum
COPY src ./
RUN find . -name '*.go' | sort | xargs sha256sum > /all.sum && tar cf /all.tar .
` + from + `
RUN useradd -m app
WORKDIR /home/app
COPY --from=build --chown=app:app /all.tar /all.sum ./
USER app
RUN tar xf all.tar && ls | wc -l > count
ENV PORT=8080
EXPOSE 8080
CMD ["sha256sum","-c","all.sum"]
`,
	}
}

// copyTree copies a file, or a directory with the files in it, with their permissions.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if !entry.Type().IsRegular() {
			return nil // a Go distribution has none that matters
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close() //nolint:errcheck // the copy failed already
		return err
	}
	return out.Close()
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
