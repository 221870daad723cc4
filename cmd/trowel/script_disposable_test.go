package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// userDisposable is root in a container, as Docker makes it, whose root directory may be overwritten.
	userDisposable = "disposable"

	envLower = "TROWEL_TEST_LOWER" // what such a container is made from
	envUpper = "TROWEL_TEST_UPPER" // a directory for what is written there
	envJob   = "TROWEL_TEST_JOB"   // what it has in jobDir
)

const (
	jobDir     = "/workspace"
	jobProgram = "/kaniko/trowel"
)

// disposable is the image of containers in which a build can be in place: the program, and what a job's image has besides.
type disposable struct{ lower string }

func newDisposable(t *testing.T) disposable {
	t.Helper()
	d := disposable{lower: t.TempDir()}
	trowel, _ := compileBuilder(t) // the tests themselves may need libraries
	program, err := os.ReadFile(trowel)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		jobProgram: string(program), "/etc/passwd": "root:x:0:0::/root:/bin/sh\njob:x:77:77::/home/job:/bin/sh\n", "/etc/group": "root:x:0:\njob:x:77:\n",
		"/root/.profile": "echo of the container", "/home/job/file": "", "/usr/lib/of-the-container": "",
	} {
		name = filepath.Join(d.lower, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", jobDir} {
		if err := os.Mkdir(filepath.Join(d.lower, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// enter has a command that works in dir run in a new container, which has that directory as its job's.
func (d disposable) enter(cmd *exec.Cmd, dir string) error {
	upper, err := os.MkdirTemp(filepath.Dir(d.lower), "container-")
	if err != nil {
		return err
	}
	here := strings.NewReplacer(dir, jobDir)
	for i := range cmd.Args {
		cmd.Args[i] = here.Replace(cmd.Args[i])
	}
	for i := range cmd.Env {
		cmd.Env[i] = here.Replace(cmd.Env[i])
	}
	cmd.Env = append(cmd.Env, envSetUp+"="+userDisposable, envLower+"="+d.lower, envUpper+"="+upper, envJob+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC}
	return nil
}

// enterDisposable makes the root directory that of the container, and takes what a container has not got.
func enterDisposable() error {
	upper, job := os.Getenv(envUpper), os.Getenv(envJob)
	for _, dir := range []string{"files", "work", "root"} {
		if err := os.Mkdir(filepath.Join(upper, dir), 0o755); err != nil {
			return err
		}
	}
	root := filepath.Join(upper, "root")
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s/files,workdir=%s/work", os.Getenv(envLower), upper, upper)
	err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("overlay", root, "overlay", 0, layers))
	if err != nil {
		return fmt.Errorf("mount the container's root: %w", err)
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		file, at := filepath.Join(upper, name), filepath.Join(root, "etc", name)
		err := errors.Join(os.WriteFile(file, []byte("127.0.0.1 localhost\n"), 0o644), os.WriteFile(at, nil, 0o644), unix.Mount(file, at, "", unix.MS_BIND, ""))
		if err != nil {
			return fmt.Errorf("mount %s: %w", name, err)
		}
	}
	if err := mountSystem(root); err != nil {
		return err
	}
	err = errors.Join(unix.Mount(job, filepath.Join(root, jobDir), "", unix.MS_BIND, ""), os.Chdir(root),
		unix.PivotRoot(".", "."), unix.Unmount(".", unix.MNT_DETACH), os.Chdir(jobDir))
	if err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return enterContainer()
}

// mountSystem mounts what is the kernel's, as Docker does.
func mountSystem(root string) error {
	for _, m := range []struct{ kind, at, data string }{
		{"proc", "proc", ""},
		{"sysfs", "sys", ""},
		{"tmpfs", "dev", "mode=755"},
		{"devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=0620"},
		{"tmpfs", "dev/shm", "mode=1777"},
		{"mqueue", "dev/mqueue", ""},
	} {
		if err := os.MkdirAll(filepath.Join(root, m.at), 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, filepath.Join(root, m.at), m.kind, unix.MS_NOSUID, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		var st unix.Stat_t
		if err := unix.Stat("/dev/"+name, &st); err != nil {
			return err
		}
		at := filepath.Join(root, "dev", name)
		if err := errors.Join(unix.Mknod(at, unix.S_IFCHR, int(st.Rdev)), os.Chmod(at, 0o666)); err != nil {
			return fmt.Errorf("make %s: %w", at, err)
		}
	}
	for name, to := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(to, filepath.Join(root, "dev", name)); err != nil {
			return err
		}
	}
	return nil
}
