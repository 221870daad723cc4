package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
)

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	source := &contents{files: map[string]string{"a": "abc", "big": strings.Repeat("x", 2<<20)}}
	file := func(p string, size int64, d filetree.Digest) filetree.Change {
		e := filetree.Entry{Path: p, Type: filetree.Regular, Size: size, Digest: d}
		return filetree.Change{Entry: e, Source: source, From: filetree.Ref{Path: p, Size: size, Digest: d}}
	}
	bare := func(p string, typ filetree.Type, link string) filetree.Change {
		return filetree.Change{Entry: filetree.Entry{Path: p, Type: typ, Link: link}}
	}
	for name, tt := range map[string]struct {
		changes []filetree.Change
		is      error
		says    string
	}{
		"file shrank":          {[]filetree.Change{file("a", 4, filetree.Digest{})}, ErrChanged, `"a"`},
		"file grew":            {[]filetree.Change{file("a", 2, filetree.Digest{})}, ErrChanged, `"a"`},
		"file changed":         {[]filetree.Change{file("a", 3, sha256.Sum256([]byte("abd")))}, ErrChanged, `"a"`},
		"large file shrank":    {[]filetree.Change{file("big", 2<<20+1, filetree.Digest{})}, ErrChanged, `"big"`},
		"large file grew":      {[]filetree.Change{file("big", 2<<20-1, filetree.Digest{})}, ErrChanged, `"big"`},
		"large file changed":   {[]filetree.Change{file("big", 2<<20, filetree.Digest{1})}, ErrChanged, `"big"`},
		"file vanished":        {[]filetree.Change{file("none", 1, filetree.Digest{})}, filetree.ErrNotExist, `"none"`},
		"no source":            {[]filetree.Change{{Entry: filetree.Entry{Path: "a", Type: filetree.Regular, Size: 1}}}, nil, "no source"},
		"not sorted":           {[]filetree.Change{bare("b", filetree.FIFO, ""), bare("a", filetree.FIFO, "")}, nil, "not sorted"},
		"not in walk order":    {[]filetree.Change{bare("a.b", filetree.FIFO, ""), bare("a/b", filetree.FIFO, "")}, nil, "not sorted"},
		"twice":                {[]filetree.Change{bare("a", filetree.FIFO, ""), bare("a", filetree.FIFO, "")}, nil, "not sorted"},
		"whiteout as a name":   {[]filetree.Change{bare("a/.wh.b", filetree.FIFO, "")}, nil, "rename it"},
		"unclean":              {[]filetree.Change{bare("a/../b", filetree.FIFO, "")}, nil, "clean"},
		"absolute":             {[]filetree.Change{bare("/a", filetree.FIFO, "")}, nil, "clean"},
		"NUL":                  {[]filetree.Change{bare("a\x00", filetree.FIFO, "")}, nil, "NUL"},
		"hardlink to nothing":  {[]filetree.Change{bare("a", filetree.Hardlink, "b")}, nil, "no such file"},
		"hardlink forward":     {[]filetree.Change{bare("a", filetree.Hardlink, "b"), bare("b", filetree.FIFO, "")}, nil, "before it"},
		"hardlink to itself":   {[]filetree.Change{bare("a", filetree.Hardlink, "a")}, nil, "before it"},
		"hardlink to a folder": {[]filetree.Change{bare("a", filetree.Directory, ""), bare("b", filetree.Hardlink, "a")}, nil, "no such file"},
		"unknown type":         {[]filetree.Change{bare("a", 77, "")}, nil, "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "blobs")
			s, err := blob.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			l, err := Write(t.Context(), s, tt.changes, Options{Compression: image.Gzip})
			if err == nil {
				t.Fatalf("accepted as %s", l.DiffID)
			}
			if tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q", err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestWriteRefusesCompression(t *testing.T) {
	t.Parallel()
	if _, err := Write(t.Context(), newStore(t), nil, Options{Compression: "lzma"}); err == nil {
		t.Error("unknown compression accepted")
	}
	if _, err := Write(t.Context(), newStore(t), nil, Options{Compression: image.Gzip, Level: 10}); err == nil {
		t.Error("gzip level 10 accepted")
	}
}

// TestUnsoundLayer holds that what is said of the files when they are read fails the layer.
func TestUnsoundLayer(t *testing.T) {
	t.Parallel()
	unsound := errors.New("they were changed")
	for _, want := range []error{nil, unsound} {
		_, err := Write(t.Context(), newStore(t), nil, Options{Compression: image.Gzip, Sound: func(context.Context) error { return want }})
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}
