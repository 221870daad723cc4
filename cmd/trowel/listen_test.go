package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestListensNowhere looks at the processes of a build while a RUN runs, with a plugin of each kind and a cache: none of them
// listens on a TCP port.
func TestListensNowhere(t *testing.T) {
	t.Parallel()
	if os.Getenv(envShell) != "" || !hasInitially(unix.CAP_SYS_ADMIN) {
		return // as who makes containers alone
	}
	container := newDisposable(t)
	programs := map[string][]byte{}
	for name, target := range map[string]string{"early": "native", "steps": "wasm"} {
		text, err := compilePlugin(target, name)
		if err != nil {
			t.Fatal(err)
		}
		programs[name] = text
	}
	for _, isolation := range []string{"namespaces", "inplace"} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/hello" {
					http.NotFound(w, r)
				}
			}))
			t.Cleanup(server.Close)
			for name, text := range programs {
				must(t, os.WriteFile(filepath.Join(s.dir, name), text, 0o755))
			}
			must(t, os.WriteFile(filepath.Join(s.dir, "trowel.toml"), []byte(strings.ReplaceAll(listenConfig, "SERVER", server.URL)), 0o644))
			s.write("Dockerfile", "FROM "+s.pushBase(t, "plain", pack(t))+"\nSTEPS <<EOF\nwrite /made text\nEOF\nRUN echo one > /first\nRUN echo started && sleep 600\n")
			cmd := s.command(t.Context(), "build", "--progress=plain", "--isolation="+isolation, "--cache-dir="+filepath.Join(s.dir, "cache"), s.context)
			if isolation == "inplace" {
				must(t, container.enter(cmd, s.dir))
			}
			processes := whileRunning(t, cmd)
			for _, want := range []string{"build", "trowel-plugin-early", "sleep 600"} {
				if !slices.ContainsFunc(processes, func(p process) bool { return strings.Contains(p.command, want) }) {
					t.Errorf("no process of the build is %q: %+v", want, processes)
				}
			}
			for _, p := range processes {
				for _, port := range p.ports {
					t.Errorf("%q listens on %s", p.command, port)
				}
			}
		})
	}
}

const listenConfig = `[plugins.early]
kind = "cache"
source = "file:early"
trust = "native"
allow.hosts = ["SERVER"]
config.hello = "SERVER/hello"
config.store = "SERVER/store/"

[plugins.steps]
kind = "instruction"
source = "file:steps"
`

// process is what a process is called, and where it listens.
type process struct {
	command string
	ports   []string
}

// whileRunning starts a build, looks at its processes once a RUN has said that it started, and ends it.
func whileRunning(t *testing.T, cmd *exec.Cmd) (all []process) {
	t.Helper()
	if own, err := look(os.Getpid()); err != nil || len(own.ports) == 0 {
		t.Fatalf("of this process, which has servers: %v, %v", own.ports, err)
	}
	log, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	stop, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	context.AfterFunc(stop, func() { _ = cmd.Process.Kill() })
	var said strings.Builder
	for lines := bufio.NewScanner(log); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if !strings.HasSuffix(lines.Text(), " started") {
			continue
		}
		pids, err := descendants(cmd.Process.Pid)
		must(t, err)
		for _, pid := range pids {
			p, err := look(pid)
			if err == nil {
				all = append(all, p)
			} else if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
				t.Error(err)
			}
		}
		must(t, cmd.Process.Signal(os.Interrupt))
	}
	err = cmd.Wait()
	if len(all) == 0 {
		t.Fatalf("%v\n%s", err, said.String())
	}
	return all
}

// descendants are a process and those that it and its children have started.
func descendants(pid int) ([]int, error) {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		_, rest, found := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if err != nil || !found || len(fields) < 2 {
			continue // it is over
		}
		child, childErr := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		parent, err := strconv.Atoi(fields[1])
		if err := errors.Join(childErr, err); err != nil {
			return nil, err
		}
		children[parent] = append(children[parent], child)
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

// look finds out where a process listens: which of its descriptors are sockets that its network namespace lists as listening.
func look(pid int) (p process, err error) {
	dir := fmt.Sprintf("/proc/%d", pid)
	text, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return p, err
	}
	p.command = strings.ReplaceAll(strings.TrimRight(string(text), "\x00"), "\x00", " ")
	files, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return p, err
	}
	sockets := map[string]bool{}
	for _, f := range files {
		target, _ := os.Readlink(filepath.Join(dir, "fd", f.Name())) // one that is closed by now is nothing
		if inode, found := strings.CutPrefix(target, "socket:["); found {
			sockets[strings.TrimSuffix(inode, "]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(filepath.Join(dir, "net", table))
		if err != nil {
			return p, err
		}
		for line := range strings.Lines(string(text)) {
			const address, state, listening, inode = 1, 3, "0A", 9
			if fields := strings.Fields(line); len(fields) > inode && fields[state] == listening && sockets[fields[inode]] {
				p.ports = append(p.ports, table+" "+fields[address])
			}
		}
	}
	return p, nil
}
