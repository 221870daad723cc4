package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
)

// compile compiles commands of a module into a file, or into a directory if its name ends in a slash. It makes a small module
// that requires the other: `go install module@version` refuses a module whose go.mod has directives that hold in the main
// module only.
func (l *Lab) compile(ctx context.Context, module, version, out string, commands ...string) error {
	source, err := l.Dir(path.Base(module) + "-module")
	if err != nil {
		return err
	}
	imports := "//go:build tools\n\npackage tools\n\nimport (\n"
	for _, command := range commands {
		imports += fmt.Sprintf("\t_ %q\n", command)
	}
	text := fmt.Sprintf("module %s-commands\n\ngo 1.26\n\nrequire %s %s\n", path.Base(module), module, version)
	if err := errors.Join(
		os.WriteFile(filepath.Join(source, "go.mod"), []byte(text), 0o644),
		os.WriteFile(filepath.Join(source, "tools.go"), []byte(imports+")\n"), 0o644),
	); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-mod=mod", "-buildvcs=false", "-o", out}, commands...)...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	_, err = output(cmd)
	return err
}
