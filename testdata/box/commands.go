package box

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mvdan.cc/sh/v3/interp"
)

// Commands are the names that the box can be called by.
func Commands() []string {
	names := []string{"sh", "bash"}
	for name := range commands() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func commands() map[string]*command {
	return map[string]*command{
		// Files.
		"rm":       {"rf", 0, remove},
		"mkdir":    {"pm:", 1, makeDirectory},
		"touch":    {"hd:R", 1, touch},
		"mv":       {"", 2, move},
		"ln":       {"s", 2, link},
		"cp":       {"p", 2, copyFile},
		"chmod":    {"R", 2, changeMode},
		"chown":    {"Rh", 2, changeOwner},
		"mkfifo":   {"m:", 1, makeFIFO},
		"mknod":    {"m:", 2, makeNode},
		"xattr":    {"", 3, setAttribute},
		"socket":   {"", 1, makeSocket},
		"stat":     {"", 1, stat},
		"ls":       {"", 1, list},
		"absent":   {"", 1, absent},
		"manifest": {"", 0, manifest},
		"tar":      {"C:a", 2, makeTar},
		"compress": {"", 1, compress},
		"oddtar":   {"", 1, makeOddTar},
		"unhex":    {"", 1, decode},
		"readlink": {"", 1, readLink},
		// Text.
		"cat":  {"", 0, concatenate},
		"head": {"c:", 0, head},
		"sort": {"", 0, sortLines},
		"grep": {"qv", 1, grep},
		"wc":   {"c", 0, count},
		// Processes and the system.
		"env":        {"", 0, environment},
		"id":         {"ugGn", 0, identify},
		"hostname":   {"", 0, hostname},
		"mask":       {"", 0, mask},
		"sleep":      {"", 1, sleep},
		"daemon":     {"", 1, daemon},
		"as":         {"", 3, as},
		"interfaces": {"", 1, interfaces},
		"agent":      {"", 0, askAgent},
	}
}

func concatenate(i *invocation) error {
	if len(i.args) == 0 {
		_, err := io.Copy(i.out, i.in)
		return err
	}
	return i.each(func(path string) error {
		text, err := os.ReadFile(path)
		if err == nil {
			_, err = i.out.Write(text)
		}
		return err
	})
}

// input is the operands' content from the nth on, or standard input.
func (i *invocation) input(n int) ([]byte, error) {
	if len(i.args) <= n {
		return io.ReadAll(i.in)
	}
	var all []byte
	for _, a := range i.args[n:] {
		text, err := os.ReadFile(i.path(a))
		if err != nil {
			return nil, err
		}
		all = append(all, text...)
	}
	return all, nil
}

func head(i *invocation) error {
	n, err := strconv.ParseInt(i.options['c'], 10, 64)
	if err != nil {
		return err
	}
	text, err := i.input(0)
	if err != nil {
		return err
	}
	_, err = i.out.Write(text[:min(n, int64(len(text)))])
	return err
}

func sortLines(i *invocation) error {
	text, err := i.input(0)
	if err != nil {
		return err
	}
	lines := slices.Collect(strings.Lines(string(text)))
	slices.Sort(lines)
	_, err = io.WriteString(i.out, strings.Join(lines, ""))
	return err
}

func count(i *invocation) error {
	text, err := i.input(0)
	return errors.Join(err, i.print(len(text)))
}

func grep(i *invocation) error {
	pattern, err := regexp.Compile(i.args[0])
	if err != nil {
		return err
	}
	text, err := i.input(1)
	if err != nil {
		return err
	}
	found := false
	for line := range strings.Lines(string(text)) {
		if pattern.MatchString(strings.TrimSuffix(line, "\n")) == i.has('v') {
			continue
		}
		found = true
		if !i.has('q') {
			if _, err := io.WriteString(i.out, line); err != nil {
				return err
			}
		}
	}
	if !found {
		return interp.NewExitStatus(1)
	}
	return nil
}

func environment(i *invocation) error {
	env := slices.Clone(i.env)
	slices.Sort(env)
	return i.print(strings.Join(env, "\n"))
}

// identify prints "uid U gid G groups [G …]", or what an option asks for.
func identify(i *invocation) error {
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	switch {
	case i.has('u') && i.has('n'):
		u, err := user.LookupId(strconv.Itoa(os.Getuid()))
		if err != nil {
			return err
		}
		return i.print(u.Username)
	case i.has('u'):
		return i.print(os.Getuid())
	case i.has('g'):
		return i.print(os.Getgid())
	case i.has('G'):
		all := slices.Compact(slices.Sorted(slices.Values(append(groups, os.Getgid()))))
		return i.print(strings.Trim(fmt.Sprint(all), "[]"))
	}
	return i.print("uid", os.Getuid(), "gid", os.Getgid(), "groups", groups)
}

func hostname(i *invocation) error {
	name, err := os.Hostname()
	return errors.Join(err, i.print(name))
}

func mask(i *invocation) error {
	old := syscall.Umask(0)
	syscall.Umask(old)
	return i.print(fmt.Sprintf("%04o", old))
}

func sleep(i *invocation) error {
	seconds, err := strconv.ParseFloat(i.args[0], 64)
	time.Sleep(time.Duration(seconds * float64(time.Second)))
	return err
}

// daemon starts a command that outlives the shell.
func daemon(i *invocation) error {
	cmd := exec.Command("/bin/sh", "-c", strings.Join(i.args, " "))
	cmd.Dir = i.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// as runs a command as another user: `as UID GID COMMAND…`.
func as(i *invocation) error {
	uid, err := strconv.ParseUint(i.args[0], 10, 32)
	gid, gerr := strconv.ParseUint(i.args[1], 10, 32)
	if err := errors.Join(err, gerr); err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-c", strings.Join(i.args[2:], " "))
	cmd.Dir = i.dir
	cmd.Stdout, cmd.Stderr = i.out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd.Run()
}

// askAgent prints what the SSH agent says to being asked to forget its keys (5 is a failure), and how many it lists.
func askAgent(i *invocation) error {
	conn, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
	if err != nil {
		return err
	}
	defer conn.Close()
	ask := func(kind byte) ([]byte, error) {
		answer := make([]byte, 4096)
		if _, err := conn.Write([]byte{0, 0, 0, 1, kind}); err != nil {
			return nil, err
		}
		n, err := io.ReadAtLeast(conn, answer, 5)
		return answer[4:n], err
	}
	forgot, err := ask(19)
	if err != nil {
		return err
	}
	keys, err := ask(11)
	if err != nil {
		return err
	}
	return i.print("agent: forget", forgot[0], "keys", keys[4])
}

// interfaces prints the names of the network's interfaces.
func interfaces(i *invocation) error {
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	var names []string
	for _, one := range all {
		names = append(names, one.Name)
	}
	return i.print(i.args[0]+":", strings.Join(names, " "))
}

// stat prints type, mode, owner and name.
func stat(i *invocation) error {
	return i.each(func(path string) error {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		of := info.Sys().(*syscall.Stat_t)
		return i.print(fmt.Sprintf("%v %d:%d %d %s", info.Mode(), of.Uid, of.Gid, of.Nlink, filepath.Clean(path)))
	})
}

// list prints the names in a directory, or what a file is.
func list(i *invocation) error {
	return i.each(func(path string) error {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			of := info.Sys().(*syscall.Stat_t)
			return i.print(info.Mode(), of.Uid, of.Gid, path)
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return i.print(path+":", strings.Join(names, " "))
	})
}

func readLink(i *invocation) error {
	return i.each(func(path string) error {
		target, err := os.Readlink(path)
		return errors.Join(err, i.print(target))
	})
}

func absent(i *invocation) error {
	return i.each(func(path string) error {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is there: %v", path, err)
		}
		return nil
	})
}

// decode writes the bytes that standard input has in hexadecimal into a file; white space is skipped.
func decode(i *invocation) error {
	var digits bytes.Buffer
	words := bufio.NewScanner(i.in)
	words.Split(bufio.ScanWords)
	for words.Scan() {
		digits.Write(words.Bytes())
	}
	content, err := hex.DecodeString(digits.String())
	if err != nil {
		return err
	}
	return os.WriteFile(i.path(i.args[0]), content, 0o644)
}
