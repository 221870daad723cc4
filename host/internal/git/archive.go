package git

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// archive writes the files of a commit that are wanted.
type archive struct {
	commit *Commit
	out    *tar.Writer
	at     time.Time
	// found is set once the wanted directory has come by.
	found   bool
	modules int // how many submodules have come by
}

// write writes the files of a commit, of its submodules, and .git.
func (m *Commit) write(ctx context.Context, dir string, repo *repository, out io.Writer, at time.Time) error {
	a := &archive{commit: m, out: tar.NewWriter(out), at: at, found: m.want.Subdir == ""}
	if err := a.add(ctx, repo, "", 0); err != nil {
		return err
	}
	if !a.found {
		return fmt.Errorf("it has no directory %q", m.want.Subdir)
	}
	if m.want.Directory == effect.GitDirectoryKept && m.want.Subdir == "" {
		if err := a.addDirectory(ctx, dir, repo); err != nil {
			return fmt.Errorf("make .git: %w", err)
		}
	}
	return a.out.Close()
}

// add adds the files of a repository whose place in the main one is at prefix.
func (a *archive) add(ctx context.Context, repo *repository, prefix string, depth int) error {
	r, w := io.Pipe()
	g, reading := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := repo.client.git(reading, run{args: []string{"archive", "--format=tar", held}, dir: repo.dir, output: w})
		w.CloseWithError(err)
		return err
	})
	g.Go(func() error {
		err := a.copy(r, prefix)
		r.CloseWithError(err)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if a.commit.want.Submodules == effect.SubmodulesEmpty {
		return nil
	}
	return a.submodules(ctx, repo, prefix, depth)
}

// copy takes over the entries that are wanted.
func (a *archive) copy(r io.Reader, prefix string) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r) // what fills the last record
			return err
		}
		if err != nil {
			return err
		}
		if err := a.entry(h, in, prefix); err != nil {
			return err
		}
	}
}

// entry takes over one entry, if it is wanted.
func (a *archive) entry(h *tar.Header, content io.Reader, prefix string) error {
	out := tar.Header{Typeflag: h.Typeflag, Linkname: h.Linkname, Size: h.Size, ModTime: a.at, Format: tar.FormatPAX}
	switch h.Typeflag {
	case tar.TypeXGlobalHeader: // the commit's ID
		return nil
	case tar.TypeDir:
		out.Mode = 0o755
	case tar.TypeSymlink:
		out.Mode = 0o777
	case tar.TypeReg:
		out.Mode = 0o644
		if h.Mode&0o111 != 0 {
			out.Mode = 0o755
		}
	default:
		return fmt.Errorf("%q has the type %q, which git does not know", h.Name, h.Typeflag)
	}
	name, wanted, err := a.wanted(path.Join(prefix, h.Name), h.Typeflag)
	if err != nil || !wanted {
		return err
	}
	out.Name = name
	if h.Typeflag == tar.TypeDir {
		out.Name += "/"
	}
	if err := a.out.WriteHeader(&out); err != nil {
		return err
	}
	_, err = io.Copy(a.out, content)
	return err
}

// wanted is the name of a file below the directory that is wanted, if it is there. No link leads into or out of that
// directory, CVE-2026-33748.
func (a *archive) wanted(p string, typ byte) (name string, wanted bool, err error) {
	sub := a.commit.want.Subdir
	if sub == "" {
		return p, true, nil
	}
	if rest, below := strings.CutPrefix(p, sub+"/"); below {
		a.found = true
		return rest, true, nil
	}
	if p != sub && !strings.HasPrefix(sub, p+"/") {
		return "", false, nil
	}
	switch typ {
	case tar.TypeDir:
		a.found = a.found || p == sub
		return "", false, nil
	case tar.TypeSymlink:
		return "", false, fmt.Errorf("directory %q: %q is a symlink", sub, p)
	}
	return "", false, fmt.Errorf("directory %q: %q is a file", sub, p)
}

// addDirectory makes a .git that has the commit and nothing else, and adds it.
func (a *archive) addDirectory(ctx context.Context, tmp string, repo *repository) error {
	dir := filepath.Join(tmp, "kept.git")
	c, m := repo.client, a.commit
	origin, err := newRemote("file://" + repo.dir)
	if err != nil {
		return err
	}
	ref := m.Ref
	if !strings.HasPrefix(ref, "refs/") {
		ref = held
	}
	init := []string{"init", "--quiet", "--bare"}
	if len(m.ID) == 64 {
		init = append(init, "--object-format=sha256")
	}
	for _, r := range []run{
		{args: append(init, "--", dir)},
		{args: []string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", "--", origin.address, held + ":" + ref}, dir: dir, remote: &origin},
		{args: []string{"update-ref", "--no-deref", "HEAD", repo.commit}, dir: dir},
		{args: []string{"read-tree", repo.commit}, dir: dir},
		{args: []string{"config", "core.bare", "false"}, dir: dir},
		{args: []string{"config", "remote.origin.url", m.remote.String()}, dir: dir},
		{args: []string{"config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"}, dir: dir},
	} {
		if err := c.git(ctx, r); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(a.walk(root), root.Close())
}

// walk adds the files of a .git, all as if git had just checked them out.
func (a *archive) walk(root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		h := tar.Header{Name: path.Join(".git", p), Mode: 0o644, ModTime: a.at, Format: tar.FormatPAX}
		switch {
		case d.IsDir():
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
			h.Name += "/"
			return a.out.WriteHeader(&h)
		case !d.Type().IsRegular():
			return fmt.Errorf("%q is no regular file", p)
		}
		f, err := root.Open(p)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			return errors.Join(err, f.Close())
		}
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
		if err := a.out.WriteHeader(&h); err != nil {
			return errors.Join(err, f.Close())
		}
		_, err = io.Copy(a.out, f)
		return errors.Join(err, f.Close())
	})
}

// Redate is a tree whose files and directories all have one time.
func Redate(tree *filetree.Tree, at time.Time) (*filetree.Tree, error) {
	e := tree.Edit()
	err := tree.Walk("", func(p string, n *filetree.Node) (bool, error) {
		x := n.Entry(p)
		x.ModTime = at.UnixNano()
		source, ref := n.Source(p)
		return true, e.Put(x, source, ref)
	})
	return e.Tree(), err
}
