// Package randbuild makes small random builds, a Dockerfile and a context, for tests that build one thing in several ways
// and compare. There are few names, so that files, directories and links meet in one place. A seed always gives the same.
package randbuild

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Tools is where each stage that is not made FROM another has the program "sh" of testdata/box from.
const Tools = "/.tools"

// Build is a build. It may fail: then it has to fail in all ways.
type Build struct {
	// Steps are the lines of the Dockerfile, one instruction each.
	Steps []Step
	// Ignore is the text of .dockerignore; empty for none.
	Ignore string
	Files  []File
	// Runs says whether there is a RUN.
	Runs bool
}

// Step is an instruction.
type Step struct {
	Text string
	// Prepares says that it belongs to the start of a stage: FROM, and what gets the tools there.
	Prepares bool
}

// File is a file of the context.
type File struct {
	Path string
	Mode fs.FileMode // with the type's bits
	// Text is the content of a regular file, and the target of a link. A regular file whose Link is set is a hard link to it.
	Text, Link string
	// Members lists what is in an archive, for messages.
	Members []string
}

// String describes the file in a line.
func (f File) String() string {
	switch {
	case len(f.Members) > 0:
		return fmt.Sprintf("%s: archive of %q", f.Path, f.Members)
	case f.Link != "":
		return fmt.Sprintf("%s: hard link to %q", f.Path, f.Link)
	}
	return fmt.Sprintf("%s: %s %q", f.Path, f.Mode, f.Text)
}

// String tells all there is to know of the build.
func (b *Build) String() string {
	out := fmt.Sprintf("Dockerfile:\n%s.dockerignore: %q\n", b.Dockerfile(""), b.Ignore)
	for _, f := range b.Files {
		out += f.String() + "\n"
	}
	return out
}

// Dockerfile is its text. The instruction after, unless it is empty, is put behind each that does not prepare a stage.
func (b *Build) Dockerfile(after string) string {
	var out strings.Builder
	for _, s := range b.Steps {
		out.WriteString(s.Text + "\n")
		if after != "" && !s.Prepares {
			out.WriteString(after + "\n")
		}
	}
	return out.String()
}

// Time is that of all files of the context.
var Time = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

// Write writes the context into a directory, which is created.
func (b *Build) Write(dir string) error {
	files := append([]File{{Path: "Dockerfile", Text: b.Dockerfile("")}}, b.Files...)
	if b.Ignore != "" {
		files = append(files, File{Path: ".dockerignore", Text: b.Ignore})
	}
	for _, f := range files {
		if err := f.write(dir); err != nil {
			return fmt.Errorf("write the context: %w", err)
		}
	}
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() == fs.ModeSymlink {
			return err
		}
		return os.Chtimes(name, Time, Time)
	})
}

func (f File) write(dir string) error {
	name := filepath.Join(dir, f.Path)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	switch {
	case f.Mode.IsDir():
		return errors.Join(os.MkdirAll(name, 0o755), os.Chmod(name, f.Mode))
	case f.Mode&fs.ModeSymlink != 0:
		return os.Symlink(f.Text, name)
	case f.Link != "":
		return os.Link(filepath.Join(dir, f.Link), name)
	}
	mode := f.Mode
	if mode == 0 {
		mode = 0o644
	}
	return errors.Join(os.WriteFile(name, []byte(f.Text), 0o644), os.Chmod(name, mode))
}

// New makes the build of a seed. The image base is that of testdata/box, and what stages begin with that do not
// begin with nothing or with each other.
func New(seed uint64, base string) *Build {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, 0)), base: base}
	m.context()
	for i := range 1 + m.IntN(3) {
		m.stage(i)
	}
	return &m.Build
}

// maker makes a build.
type maker struct {
	*rand.Rand
	Build
	base   string
	stages []*stage
}

// stage is what is known of a stage that was made.
type stage struct {
	paths []string // where something may be
	users bool     // it has /etc/passwd
}

// of takes one of several, each as likely as it is listed.
func (m *maker) of(all ...string) string { return all[m.IntN(len(all))] }

// in says yes once in n times.
func (m *maker) in(n int) bool { return m.IntN(n) == 0 }

func (m *maker) name() string { return m.of("a", "b", "c", "d", "x.txt", ".h") }

// path is a path of one to three names.
func (m *maker) path() string {
	p := m.name()
	for m.in(2) && strings.Count(p, "/") < 2 {
		p += "/" + m.name()
	}
	return p
}

func (m *maker) link() string {
	target := m.path()
	return m.of(target, target, "/"+target, "../"+target, ".", "..", "/", "./"+target+"/", "../../../"+target)
}

// context makes the files of the context.
func (m *maker) context() {
	there := map[string]fs.FileMode{}
	for range 3 + m.IntN(8) {
		f := File{Path: m.path()}
		blocked := there[f.Path] != 0
		for dir := filepath.Dir(f.Path); dir != "."; dir = filepath.Dir(dir) {
			blocked = blocked || there[dir] != 0 && !there[dir].IsDir()
		}
		if blocked {
			continue
		}
		switch m.IntN(10) {
		case 0, 1:
			f.Mode = fs.ModeDir | []fs.FileMode{0o755, 0o700, 0o775, 0o755 | fs.ModeSticky, 0o755 | fs.ModeSetgid}[m.IntN(5)]
		case 2, 3:
			f.Mode, f.Text = fs.ModeSymlink, m.link()
		case 4:
			f.Text, f.Members = m.archive()
		case 5:
			if prev := m.regular(); prev != "" {
				f.Link = prev
			}
		default:
			f.Mode = []fs.FileMode{0o644, 0o644, 0o600, 0o755, 0o4755&^0o4000 | fs.ModeSetuid}[m.IntN(5)]
			f.Text = m.of("one", "two", "", "three\n")
		}
		m.Files = append(m.Files, f)
		there[f.Path] = max(f.Mode, 1)
		for dir := filepath.Dir(f.Path); dir != "."; dir = filepath.Dir(dir) {
			if there[dir] == 0 {
				there[dir] = fs.ModeDir
			}
		}
	}
	if m.in(6) {
		for range 1 + m.IntN(3) {
			m.Ignore += m.of(m.pattern(), "!"+m.pattern(), "*\n!"+m.path()) + "\n"
		}
	}
}

// regular is a regular file of the context; empty if there is none.
func (m *maker) regular() string {
	for _, f := range m.Files {
		if f.Mode.IsRegular() && f.Link == "" {
			return f.Path
		}
	}
	return ""
}

func (m *maker) pattern() string {
	return m.of(m.path(), m.name(), "*.txt", "**/"+m.name(), m.name()+"/*", "*/"+m.name(), "/"+m.path(), m.name()+"/", "**/.*", "?", "[a-b]")
}

// archive makes a tar, compressed or not.
func (m *maker) archive() (text string, members []string) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	last := "a"
	for range 1 + m.IntN(5) {
		h := &tar.Header{Name: m.path(), Mode: []int64{0o644, 0o755, 0o600, 0o4711}[m.IntN(4)], ModTime: Time.Add(time.Hour), Typeflag: tar.TypeReg}
		if m.in(4) {
			h.Uid, h.Gid = 1000, 50
		}
		text = ""
		switch m.IntN(8) {
		case 0, 1:
			h.Typeflag, h.Name, h.Mode = tar.TypeDir, m.of(h.Name+"/", "./", "./"+h.Name+"/"), []int64{0o755, 0o700}[m.IntN(2)]
		case 2:
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, m.link(), 0o777
		case 3:
			h.Typeflag, h.Linkname = tar.TypeLink, last
		case 4:
			h.Name = m.of("./", "/") + h.Name
		default:
			text, last = m.of("tar", "ball"), h.Name
		}
		h.Size = int64(len(text))
		members = append(members, strings.TrimRight(fmt.Sprintf("%c %o %d:%d %s %s", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Name, h.Linkname), " "))
		if err := w.WriteHeader(h); err != nil {
			panic(err) // a buffer takes everything, and the header is valid
		}
		_, _ = w.Write([]byte(text))
	}
	_ = w.Close()
	if !m.in(3) {
		return b.String(), members
	}
	var z bytes.Buffer
	c := gzip.NewWriter(&z)
	_, _ = c.Write(b.Bytes())
	_ = c.Close()
	return z.String(), members
}
