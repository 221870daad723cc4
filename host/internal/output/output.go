// Package output puts a finished image, or its files alone, where the user asked for besides a registry: OCI layouts,
// Docker archives, tars and directories. It also reads the values of --output.
//
// Nothing is left half written: a file is written beside its place and renamed, a layout's index is replaced last.
package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/term"

	"github.com/trowel-build/trowel/host/internal/image"
)

// Image is what the outputs of type oci and docker are made from.
type Image struct {
	Config   image.Document
	Manifest image.Document
	Layers   []Blob // as the manifest lists them
	// Names are the references the user gave, such as "app:1"; none is fine.
	Names []string
	// Created is noted beside the manifest; zero: not at all.
	Created time.Time
}

// Index is an index over the images for several platforms, which have no names of their own.
type Index struct {
	image.Document
	Images  []Image
	Names   []string
	Created time.Time
}

// Blob is a blob and the way to its bytes, which are checked while they are written.
type Blob struct {
	Descriptor ocispec.Descriptor
	Open       func(ctx context.Context) (io.ReadCloser, error)
}

// Request is what there is to put out.
type Request struct {
	// Image, or an Index instead, is for types that [Spec.Needs] says NeedsImage of.
	Image *Image
	Index *Index
	// Trees are for those it says NeedsTree of: that of each platform.
	Trees []PlatformTree
	// Several is set if there is an index: files are then put out into a directory for each platform.
	Several Several
	// Epoch is SOURCE_DATE_EPOCH: the time of every file in outputs of type tar and local.
	Epoch  *time.Time
	Stdout io.Writer
	// Note is told what could not be kept, such as the owners of files; nil: nobody wants to know.
	Note func(string)
}

// Write puts out what a value of --output asks for.
func Write(ctx context.Context, s Spec, r Request) error {
	if err := s.write(ctx, r); err != nil {
		return fmt.Errorf("write output %q: %w", s.text(), err)
	}
	return nil
}

func (s Spec) write(ctx context.Context, r Request) error {
	switch s.Needs() {
	case NeedsImage:
		if r.Image == nil && r.Index == nil {
			return errors.New("there is no image")
		}
	case NeedsTree:
		if len(r.Trees) == 0 {
			return errors.New("there are no files")
		}
	}
	switch s.Type {
	case TypeOCI:
		var content OCIContent
		if r.Index != nil {
			content = *r.Index
		} else {
			content = *r.Image
		}
		if s.Form == FormDirectory {
			return WriteOCIDirectory(ctx, s.Dest, content)
		}
		return toFile(s.Dest, r.Stdout, func(w io.Writer) error { return WriteOCIArchive(ctx, w, content) })
	case TypeDocker:
		if r.Image == nil {
			return s.CheckIndex()
		}
		return toFile(s.Dest, r.Stdout, func(w io.Writer) error { return WriteDockerArchive(ctx, w, *r.Image) })
	case TypeTar, TypeLocal:
		tree, err := s.gather(r)
		if err != nil {
			return err
		}
		files := Files{Tree: tree, Root: s.Source, Epoch: r.Epoch, Note: r.Note}
		if s.Type == TypeLocal {
			return WriteDirectory(ctx, s.Dest, files, s.Existing)
		}
		return toFile(s.Dest, r.Stdout, func(w io.Writer) error { return WriteTar(ctx, w, files) })
	}
	return fmt.Errorf("type %q is not written to a file", s.Type)
}

// blobs are those of an image, the manifest last.
func (m Image) blobs() []Blob {
	all := append([]Blob{inMemory(m.Config)}, m.Layers...)
	return once(append(all, inMemory(m.Manifest)))
}

// blobs are those of all images, the index last.
func (x Index) blobs() []Blob {
	var all []Blob
	for i := range x.Images {
		all = append(all, x.Images[i].blobs()...)
	}
	return once(append(all, inMemory(x.Document)))
}

// once gives each blob once.
func once(all []Blob) []Blob {
	seen := map[digest.Digest]bool{}
	var out []Blob
	for _, b := range all {
		if !seen[b.Descriptor.Digest] {
			seen[b.Descriptor.Digest] = true
			out = append(out, b)
		}
	}
	return out
}

// copyTo writes the blob's bytes and makes sure that they are the blob's.
func (b Blob) copyTo(ctx context.Context, w io.Writer) (err error) {
	d := b.Descriptor
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy blob %q: %w", d.Digest, err)
		}
	}()
	r, err := b.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := d.Digest.Validate(); err != nil {
		return err
	}
	digester := d.Digest.Algorithm().Digester()
	n, err := copyContext(ctx, io.MultiWriter(w, digester.Hash()), io.LimitReader(r, d.Size+1))
	if err != nil {
		return err
	}
	if n != d.Size {
		return fmt.Errorf("it has not the %d bytes that the manifest says", d.Size)
	}
	if got := digester.Digest(); got != d.Digest {
		return fmt.Errorf("its content has digest %s", got)
	}
	return nil
}

// copyContext is io.Copy that ends when its context does.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	var total int64
	buffer := make([]byte, 256<<10)
	for {
		if err := context.Cause(ctx); err != nil {
			return total, err
		}
		n, err := r.Read(buffer)
		total += int64(n)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return total, err
			}
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// toFile calls write with the file dest, which comes into being when write is done, or with standard output for "-".
func toFile(dest string, stdout io.Writer, write func(io.Writer) error) error {
	if dest != stdoutName {
		return replaceFile(dest, write)
	}
	if stdout == nil {
		return errors.New("there is no standard output")
	}
	if f, ok := stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return errors.New("standard output is a terminal: name a file with dest=, or redirect")
	}
	return buffered(stdout, write)
}
