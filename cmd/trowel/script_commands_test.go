package main

import (
	"archive/tar"
	"bufio"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// setModTime sets the time of files: mtime SECONDS FILE...
func setModTime(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "mtime SECONDS FILE...")
	seconds, err := strconv.ParseInt(args[0], 10, 64)
	check(ts, err)
	for _, f := range args[1:] {
		check(ts, os.Chtimes(ts.MkAbs(f), time.Time{}, time.Unix(seconds, 0)))
	}
}

// makeKey writes a private key for SSH: sshkey FILE.
func makeKey(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "sshkey FILE")
	_, key, err := ed25519.GenerateKey(nil)
	check(ts, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	check(ts, err)
	check(ts, os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(block), 0o600))
}

// fill puts variables of the scenario into a file, where it has "@NAME@": fill FILE.
func fill(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "fill FILE")
	name := ts.MkAbs(args[0])
	text, err := os.ReadFile(name)
	check(ts, err)
	filled := variable.ReplaceAllStringFunc(string(text), func(v string) string { return ts.Getenv(strings.Trim(v, "@")) })
	check(ts, os.WriteFile(name, []byte(filled), 0o644))
}

var variable = regexp.MustCompile(`@[A-Z]+@`)

// remember gives a variable what a file or "stdout" holds: remember NAME FILE.
func remember(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "remember NAME FILE")
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// flip changes a byte in the middle of every regular file of at least MIN bytes below DIR: flip MIN DIR.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "flip MIN DIR")
	least, err := strconv.ParseInt(args[0], 10, 64)
	check(ts, err)
	flipped := 0
	check(ts, filepath.WalkDir(ts.MkAbs(args[1]), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() < least {
			return err
		}
		flipped++
		return flipFile(path, info)
	}))
	if flipped == 0 {
		ts.Fatalf("nothing to flip below %s", args[1])
	}
}

func flipFile(path string, info os.FileInfo) (err error) {
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Chmod(path, info.Mode().Perm())) }()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, info.Size()/2); err != nil {
		return err
	}
	b[0] ^= 0xff
	_, err = f.WriteAt(b, info.Size()/2)
	return err
}

// running waits until a process with the argument WORD is there, or none is: [!] running WORD.
func running(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] running WORD")
	}
	for range 600 {
		if hasProcess(args[0]) != neg {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("running %s: %v", args[0], errNotMet)
}

// terminate sends SIGTERM to what runs in the background: terminate.
func terminate(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, "terminate")
	for _, cmd := range ts.BackgroundCmds() {
		check(ts, cmd.Process.Signal(syscall.SIGTERM))
	}
}

func hasProcess(word string) bool {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return false
	}
	for _, name := range lines {
		text, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(text), "/bin/sh\x00") {
			continue // gone, or not a RUN
		}
		if slices.ContainsFunc(strings.Split(string(text), "\x00"), func(a string) bool { return strings.Contains(a, word) }) {
			return true
		}
	}
	return false
}

// noMount makes sure that nothing is mounted below DIR: nomount DIR.
func noMount(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "nomount DIR")
	text, err := os.ReadFile("/proc/self/mountinfo")
	check(ts, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], ts.MkAbs(args[0])) {
			ts.Fatalf("mounted: %s", line)
		}
	}
}

// noEntries makes sure that no path matches, or that each pattern has one that does: [!] noentries PATTERN...
func noEntries(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, false, args, 1, "[!] noentries PATTERN...")
	for _, pattern := range args {
		found, err := filepath.Glob(ts.MkAbs(pattern))
		check(ts, err)
		if (len(found) > 0) != neg {
			ts.Fatalf("%s: there is %q", pattern, found)
		}
	}
}

// tarList prints the entries of a tar: type, mode, owner, size and name.
func tarList(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Printf("%c %04o %d:%d %d %s\n", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size, h.Name)
	}
}

// jsonLines makes sure that a file is lines of JSON objects and that each has the keys.
func jsonLines(name string, keys []string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := 0
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for ; s.Scan(); lines++ {
		var object map[string]any
		if err := json.Unmarshal(s.Bytes(), &object); err != nil {
			return fmt.Errorf("line %d: %w: %s", lines+1, err, s.Text())
		}
		for _, k := range keys {
			if _, ok := object[k]; !ok {
				return fmt.Errorf("line %d has no %q: %s", lines+1, k, s.Text())
			}
		}
	}
	if lines == 0 {
		return errors.New("there are no lines")
	}
	return s.Err()
}
