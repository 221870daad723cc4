package box

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// makeTar is `tar [-C DIR] FILE NAME…`: it archives each NAME as it is given, and not what is below it; with -a what is below
// it as well, in the order of names. Times are whole seconds and owners numbers.
func makeTar(i *invocation) error {
	out, err := os.Create(i.path(i.args[0]))
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	dir := i.dir
	if i.has('C') {
		dir = i.path(i.options['C'])
	}
	for _, name := range i.args[1:] {
		if !i.has('a') {
			if err := archive(w, dir, name); err != nil {
				return err
			}
			continue
		}
		err := filepath.WalkDir(dir+"/"+name, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(dir, path)
			return errors.Join(err, archive(w, dir, relative))
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), out.Close())
}

func archive(w *tar.Writer, dir, name string) error {
	info, err := os.Lstat(dir + "/" + name)
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&os.ModeSymlink != 0 {
		if target, err = os.Readlink(dir + "/" + name); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name = name
	if info.IsDir() {
		h.Name += "/"
	}
	h.Uname, h.Gname = "", ""
	if h.Uid == os.Getuid() {
		h.Uid, h.Gid = 0, 0 // the same archive whoever makes it
	}
	if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	content, err := os.ReadFile(dir + "/" + name)
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}

// compress is `compress FILE`: FILE stays, and FILE.gz, FILE.xz and FILE.zst are made beside it.
func compress(i *invocation) error {
	content, err := os.ReadFile(i.path(i.args[0]))
	if err != nil {
		return err
	}
	var errs []error
	for ending, open := range map[string]func(io.Writer) (io.WriteCloser, error){
		"gz":  func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		"xz":  func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
		"zst": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
	} {
		out, err := os.Create(fmt.Sprintf("%s.%s", i.path(i.args[0]), ending))
		if err != nil {
			return err
		}
		w, err := open(out)
		if err != nil {
			return err
		}
		_, err = w.Write(content)
		errs = append(errs, err, w.Close(), out.Close())
	}
	return errors.Join(errs...)
}

// makeOddTar is `oddtar FILE`: an archive of what few archives have, by one program or another: a global header, long names as GNU and
// as PAX write them, numbers in base 256, a hard link, a time before 1970, extended attributes.
func makeOddTar(i *invocation) error {
	out, err := os.Create(i.path(i.args[0]))
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	long := strings.Repeat("long/", 30)
	when := time.Date(2015, 5, 5, 5, 5, 5, 0, time.UTC)
	var errs []error
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "of a commit"}, Format: tar.FormatPAX},
		{Name: "plain", Mode: 0o644, Size: 4, ModTime: when, Format: tar.FormatUSTAR},
		{Name: long + "gnu", Mode: 0o600, Size: 4, ModTime: when, Format: tar.FormatGNU},
		{Name: long + "pax", Mode: 0o600, Size: 4, ModTime: when.Add(time.Second / 2), Format: tar.FormatPAX},
		{Name: "large-id", Mode: 0o644, Size: 4, Uid: 3_000_000, Gid: 4_000_000, ModTime: when, Format: tar.FormatGNU},
		{Name: "old", Mode: 0o644, Size: 4, ModTime: time.Unix(-100, 0), Format: tar.FormatGNU},
		{Typeflag: tar.TypeLink, Name: "hard", Linkname: "plain", Mode: 0o644, ModTime: when, Format: tar.FormatUSTAR},
		{Typeflag: tar.TypeSymlink, Name: "soft", Linkname: long + "pax", Mode: 0o777, ModTime: when, Format: tar.FormatGNU},
		{Typeflag: tar.TypeDir, Name: "dir/", Mode: 0o1777, ModTime: when, Format: tar.FormatPAX},
		{Typeflag: tar.TypeFifo, Name: "dir/fifo", Mode: 0o640, ModTime: when, Format: tar.FormatUSTAR},
		{Name: "./dotted", Mode: 0o4755, Size: 4, ModTime: when, Format: tar.FormatUSTAR},
		{Name: "/absolute", Mode: 0o644, Size: 4, ModTime: when, Format: tar.FormatUSTAR},
	} {
		errs = append(errs, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := io.WriteString(w, "four")
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, w.Close(), out.Close())...)
}
