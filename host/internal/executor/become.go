package executor

import (
	"errors"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// execute replaces this process by the command. It returns only where that fails.
func execute(p wireProcess, say *reporter) error {
	path, err := lookUp(p.Args[0], p.Env)
	if err != nil {
		return err
	}
	if err := say.ready(); err != nil {
		return err
	}
	resetSignals()
	if err := lower(p.Limits); err != nil {
		return err
	}
	err = unix.Exec(path, p.Args, p.Env)
	return explainExec(p.Args[0], path, err)
}

// lookUp finds a command as execvp does: a name with a slash is a path, others are looked for in the PATH that the command
// itself will see.
func lookUp(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	var denied error
	for _, dir := range filepath.SplitList(searchPath(env)) {
		if dir == "" {
			dir = "."
		}
		path := filepath.Join(dir, name)
		err := executable(path)
		if err == nil {
			if !filepath.IsAbs(path) {
				path = "./" + path
			}
			return path, nil
		}
		if errors.Is(err, unix.EACCES) {
			denied = err
		}
	}
	if denied != nil {
		return "", failure("exec", name, denied)
	}
	return "", &SetupError{Call: "exec", Subject: name, Err: &describedErrno{"not found in PATH", unix.ENOENT}}
}

// searchPath is the PATH of an environment; the last one counts. Without one it is the usual one.
func searchPath(env []string) string {
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			path = value
		}
	}
	return path
}

func executable(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EACCES
	}
	// By the effective IDs; access(2) of old would ask by the real ones, which are the same here.
	return unix.Access(path, unix.X_OK)
}

func explainExec(name, path string, err error) error {
	setup := &SetupError{Call: "exec", Subject: name, Err: err}
	switch {
	case errors.Is(err, unix.ENOENT):
		setup.Err = &describedErrno{"no such file or directory", unix.ENOENT}
		if executable(path) == nil {
			setup.Hint = "the file exists: the interpreter or dynamic loader that it names does not"
		}
	case errors.Is(err, unix.ENOEXEC):
		setup.Hint = "not a program for this machine's architecture, or a script without \"#!\""
	case errors.Is(err, unix.EACCES):
		setup.Hint = "it must be an ordinary file with execute permission, on every directory above it too"
	case errors.Is(err, unix.E2BIG):
		setup.Hint = "arguments and environment are too long together"
	}
	return setup
}
