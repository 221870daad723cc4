// Package corpus reads the cases of testdata/dockerfiles, prepares their build contexts and base images, and keeps what BuildKit
// made of them beside them. README.md there describes a case.
package corpus

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/trowel-build/trowel/testdata/box"
)

// FixedTime is the modification time of the files of a case.
var FixedTime = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

// Case is what one txtar file asks for.
type Case struct {
	Name string
	Rows []string // of the manifest, which it shows to hold
	Options

	// Fails is what Trowel says where both it and BuildKit refuse the case, Refuses where Trowel alone does, on purpose.
	Fails, Refuses *regexp.Regexp
	// Root says that the context can be prepared by root alone.
	Root bool
	// Differs has patterns of paths that Trowel makes otherwise on purpose, each with the reason.
	Differs map[string]string

	archive *txtar.Archive
}

// Options are what a builder is asked beside the context.
type Options struct {
	BuildArgs, Labels, Annotations []string // KEY=VALUE
	Contexts                       []string // NAME=DIRECTORY, below the context's parent
	Secrets                        []string // ID=FILE, in the context
	Agents                         []string // IDs of SSH agents that hold a key, which is in the file of [Key]
	Grants                         []string // what RUN may ask for: security.insecure
	Target, Platform, File         string
}

// Load reads all cases of a directory.
func Load(dir string) ([]*Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		return nil, err
	}
	var cases []*Case
	for _, file := range files {
		c, err := LoadFile(file)
		if err != nil {
			return nil, err
		}
		cases = append(cases, c)
	}
	return cases, nil
}

// LoadFile reads a case.
func LoadFile(file string) (*Case, error) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		return nil, err
	}
	c := &Case{Name: strings.TrimSuffix(filepath.Base(file), ".txtar"), archive: archive, Differs: map[string]string{}}
	for line := range strings.Lines(string(archive.Comment)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		if err := c.direct(key, strings.TrimSpace(value)); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return c, nil
}

// direct reads one directive.
func (c *Case) direct(key, value string) (err error) {
	switch key {
	case "rows":
		c.Rows = append(c.Rows, strings.Fields(value)...)
	case "build-arg":
		c.BuildArgs = append(c.BuildArgs, value)
	case "label":
		c.Labels = append(c.Labels, value)
	case "annotation":
		c.Annotations = append(c.Annotations, value)
	case "context":
		c.Contexts = append(c.Contexts, value)
	case "secret":
		c.Secrets = append(c.Secrets, value)
	case "ssh":
		c.Agents = append(c.Agents, value)
	case "allow":
		c.Grants = append(c.Grants, value)
	case "target":
		c.Target = value
	case "platform":
		c.Platform = value
	case "file":
		c.File = value
	case "fails":
		c.Fails, err = regexp.Compile(value)
	case "refuses":
		c.Refuses, err = regexp.Compile(value)
	case "setup":
		if c.Root = value == "root"; !c.Root {
			err = fmt.Errorf("setup: %q, want root", value)
		}
	case "differs":
		pattern, why, ok := strings.Cut(value, " ")
		if c.Differs[pattern] = why; !ok {
			err = errors.New("differs: want a pattern of paths and the reason")
		}
	default:
		err = fmt.Errorf("unknown directive %q", key)
	}
	return err
}

// Parent says whether the case starts from an image that a Dockerfile of its own makes.
func (c *Case) Parent() bool {
	return slices.ContainsFunc(c.archive.Files, func(f txtar.File) bool { return strings.HasPrefix(f.Name, "parent/") })
}

// Bases are the references that stand for words in a case's files.
type Bases map[string]string

// Serve starts the web server of a case that is unpacked into dir, and returns the bases with its address; the caller calls stop.
func (c *Case) Serve(dir string, bases Bases) (with Bases, stop func()) {
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(dir, "web"))))
	with = maps.Clone(bases)
	with["@WEB@"] = strings.TrimPrefix(server.URL, "http://")
	return with, server.Close
}

// Unpack makes the case's files below dir: the build context in "context", other contexts beside it.
func (c *Case) Unpack(ctx context.Context, dir string, bases Bases) error {
	var pairs []string
	for word, reference := range bases {
		pairs = append(pairs, word, reference)
	}
	replace := strings.NewReplacer(pairs...)
	if err := os.MkdirAll(filepath.Join(dir, "context"), 0o755); err != nil {
		return err
	}
	setup := map[string]string{} // script by directory
	for _, f := range c.archive.Files {
		name := filepath.Join(dir, "context", f.Name)
		if top, _, _ := strings.Cut(f.Name, "/"); top == "parent" || top == "web" || strings.HasPrefix(top, "other") {
			name = filepath.Join(dir, f.Name)
		}
		text := replace.Replace(string(f.Data))
		if filepath.Base(f.Name) == "setup.sh" {
			setup[filepath.Dir(name)] = text
			continue
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := level(dir); err != nil {
		return err
	}
	for _, id := range c.Agents {
		if err := makeKey(Key(dir, id)); err != nil {
			return err
		}
	}
	for at, text := range setup {
		if out, err := box.Script(ctx, text, at); err != nil {
			return fmt.Errorf("%s: setup.sh: %w\n%s", c.Name, err, out)
		}
		if err := os.Chtimes(at, FixedTime, FixedTime); err != nil {
			return err
		}
	}
	return nil
}

// Key is the private key of an SSH agent of a case that was unpacked to dir.
func Key(dir, id string) string { return filepath.Join(dir, "key-"+id) }

// makeKey writes a new private key. Any will do: what a case shows of an agent does not depend on it.
func makeKey(file string) error {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// level gives all below dir the mode and the time that a case's files have.
func level(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if d.IsDir() {
			mode = 0o755
		}
		return errors.Join(os.Chmod(path, mode), os.Chtimes(path, FixedTime, FixedTime))
	})
}
