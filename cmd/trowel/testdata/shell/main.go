// Command shell is the /bin/sh of the scenarios' base image: lines of commands joined by "&&" or ";", "[ -d DIR ] || { … }" and
// "for … do … done" on one line, words in quotes, variables, ">" and ">>", and the few commands that the scenarios need. It is
// static, and all that the image has.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// exit is the wish to end with a code.
type exit int

func (e exit) Error() string { return "exit " + strconv.Itoa(int(e)) }

func main() {
	if len(os.Args) < 3 || !strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprintln(os.Stderr, "usage: sh -c COMMANDS")
		os.Exit(2)
	}
	err := runAll(os.Args[2])
	var code exit
	switch {
	case errors.As(err, &code):
		os.Exit(int(code))
	case err != nil:
		fmt.Fprintln(os.Stderr, "sh:", err)
		os.Exit(1)
	}
}

var (
	loop   = regexp.MustCompile(`(?s)^(.*?)\bfor (\w+) in (.*?); do (.*?); done(.*)$`)
	unless = regexp.MustCompile(`(?s)^(.*?)\[ -d ([^]]*) \] \|\| \{ (.*?); \}(.*)$`)
)

func runAll(text string) error {
	if m := loop.FindStringSubmatch(text); m != nil {
		if err := runAll(m[1]); err != nil {
			return err
		}
		for _, word := range split(m[3]) {
			os.Setenv(m[2], word)
			if err := runAll(m[4]); err != nil {
				return err
			}
		}
		return runAll(m[5])
	}
	if m := unless.FindStringSubmatch(text); m != nil {
		if err := runAll(m[1]); err != nil {
			return err
		}
		if info, err := os.Stat(split(m[2])[0]); err != nil || !info.IsDir() {
			if err := runAll(m[3]); err != nil {
				return err
			}
		}
		return runAll(m[4])
	}
	return each(commands(text), func(command string) error { return runOne(strings.TrimSpace(command)) })
}

// commands cuts text at what stands between commands, unless it is quoted.
func commands(text string) []string {
	var out []string
	start, quote := 0, byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '\'' || c == '"':
			quote = c
		case c == '\n' || c == ';' || c == '&':
			out, start = append(out, text[start:i]), i+1
		}
	}
	return append(out, text[start:])
}

func runOne(command string) (err error) {
	words := split(command)
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return nil
	}
	out := io.Writer(os.Stdout)
	if i := slices.IndexFunc(words, func(w string) bool { return w == ">" || w == ">>" }); i > 0 && i+1 < len(words) {
		flags := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
		if words[i] == ">>" {
			flags = os.O_CREATE | os.O_WRONLY | os.O_APPEND
		}
		f, err := os.OpenFile(words[i+1], flags, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		out, words = f, words[:i]
	}
	return do(out, words[0], words[1:])
}

// split cuts a command into words. Variables stand for their values outside of single quotes.
func split(command string) []string {
	var words []string
	var word strings.Builder
	inWord := false
	quote := byte(0)
	end := func() {
		if inWord {
			words = append(words, word.String())
		}
		word.Reset()
		inWord = false
	}
	for i := 0; i < len(command); i++ {
		switch c := command[i]; {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, inWord = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			end()
		case c == '$' && quote != '\'':
			j := i + 1
			for j < len(command) && (command[j] == '_' || command[j] >= '0' && command[j] <= '9' || command[j] >= 'A' && command[j] <= 'z') {
				j++
			}
			word.WriteString(os.Getenv(command[i+1 : j]))
			i, inWord = j-1, true
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	end()
	return words
}

func do(out io.Writer, name string, args []string) error {
	flag := ""
	if len(args) > 1 && strings.HasPrefix(args[0], "-") {
		flag, args = args[0], args[1:]
	}
	switch name {
	case "true", ":", "set":
		return nil
	case "echo":
		_, err := fmt.Fprintln(out, strings.Join(args, " "))
		return err
	case "cat":
		return each(args, func(f string) error {
			text, err := os.ReadFile(f)
			if err == nil {
				_, err = out.Write(text)
			}
			return err
		})
	case "env":
		env := os.Environ()
		slices.Sort(env)
		_, err := fmt.Fprintln(out, strings.Join(env, "\n"))
		return err
	case "id":
		groups, err := os.Getgroups()
		fmt.Fprintln(out, "uid", os.Getuid(), "gid", os.Getgid(), "groups", groups)
		return err
	case "pwd":
		dir, err := os.Getwd()
		fmt.Fprintln(out, dir)
		return err
	case "ls":
		return list(out, args)
	case "interfaces":
		return interfaces(out, args[0])
	case "exit":
		code, err := strconv.Atoi(args[0])
		return errors.Join(exit(code), err)
	case "sleep":
		seconds, err := strconv.ParseFloat(args[0], 64)
		time.Sleep(time.Duration(seconds * float64(time.Second)))
		return err
	case "exec":
		return syscall.Exec("/proc/self/exe", append([]string{"sh", "-c"}, strings.Join(args, " ")), os.Environ())
	}
	return change(name, flag, args)
}

// change does what changes files.
func change(name, flag string, args []string) error {
	switch name {
	case "rm":
		return each(args, func(f string) error {
			if flag != "" {
				return os.RemoveAll(f)
			}
			return os.Remove(f)
		})
	case "mkdir":
		return each(args, func(f string) error {
			if flag != "" {
				return os.MkdirAll(f, 0o755)
			}
			return os.Mkdir(f, 0o755)
		})
	case "touch":
		return each(args, func(f string) error {
			file, err := os.OpenFile(f, os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			return errors.Join(file.Close(), os.Chtimes(f, time.Now(), time.Now()))
		})
	case "mv":
		return os.Rename(args[0], args[1])
	case "ln":
		if flag != "" {
			return os.Symlink(args[0], args[1])
		}
		return os.Link(args[0], args[1])
	case "chmod":
		mode, err := strconv.ParseUint(args[0], 8, 32)
		return errors.Join(err, syscall.Chmod(args[1], uint32(mode)))
	case "chown":
		uid, gid, _ := strings.Cut(args[0], ":")
		u, err := strconv.Atoi(uid)
		g, gerr := strconv.Atoi(gid)
		return errors.Join(err, gerr, os.Lchown(args[1], u, g))
	case "absent":
		return each(args, func(f string) error {
			if _, err := os.Lstat(f); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s is there: %v", f, err)
			}
			return nil
		})
	}
	fmt.Fprintf(os.Stderr, "sh: %s: not found\n", name)
	return exit(127)
}

// list prints mode, owner and name of files.
func list(out io.Writer, args []string) error {
	return each(args, func(f string) error {
		info, err := os.Lstat(f)
		if err != nil {
			return err
		}
		if info.IsDir() {
			names, err := filepath.Glob(f + "/*")
			if err != nil {
				return err
			}
			for i := range names {
				names[i] = filepath.Base(names[i])
			}
			fmt.Fprintln(out, f+":", strings.Join(names, " "))
			return nil
		}
		stat := info.Sys().(*syscall.Stat_t)
		fmt.Fprintln(out, info.Mode(), stat.Uid, stat.Gid, f)
		return nil
	})
}

func each(args []string, do func(string) error) error {
	for _, a := range args {
		if err := do(a); err != nil {
			return err
		}
	}
	return nil
}

// interfaces prints the names of the network's interfaces.
func interfaces(out io.Writer, label string) error {
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	_, err = fmt.Fprintf(out, "%s: %s\n", label, strings.Join(names, " "))
	return err
}
