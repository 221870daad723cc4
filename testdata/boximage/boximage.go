// Package boximage makes the base image that tests build on: see package box.
package boximage

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/trowel-build/trowel/testdata/box"
)

// Compile compiles the program, a main package of the source tree that calls box.Main.
func Compile(ctx context.Context, root, output string) error {
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", output, "./cmd/trowel/testdata/shell")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the shell: %w\n%s", err, out)
	}
	return nil
}

// New is the base image: the program under its names, users, and directories that are usual.
func New(program string) (v1.Image, error) {
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	files, err := baseFiles(text)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil },
		tarball.WithCompressionLevel(1), tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Env = []string{"PATH=/bin"}
	return mutate.ConfigFile(img, config)
}

// baseFiles is the tar of the image's one layer.
func baseFiles(program []byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, text []byte) error {
		h.Size = int64(len(text))
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		_, err := w.Write(text)
		return err
	}
	var errs []error
	for _, d := range []string{"bin/", "etc/", "proc/", "sys/", "dev/", "usr/", "var/", "home/"} {
		errs = append(errs, add(tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755}, nil))
	}
	errs = append(errs,
		add(tar.Header{Typeflag: tar.TypeDir, Name: "home/app/", Mode: 0o755, Uid: 1000, Gid: 1000}, nil),
		add(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil),
		add(tar.Header{Typeflag: tar.TypeSymlink, Name: "lib", Linkname: "usr/lib", Mode: 0o777}, nil),
		add(tar.Header{Name: "bin/sh", Mode: 0o755}, program),
		add(tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")),
		add(tar.Header{Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\napp:x:1000:\nwheel:x:10:app\nstaff:x:50:\n")),
		add(tar.Header{Name: "var/kept", Mode: 0o644}, []byte("from the base\n")),
	)
	for _, name := range box.Commands() {
		if name != "sh" {
			errs = append(errs, add(tar.Header{Typeflag: tar.TypeSymlink, Name: filepath.Join("bin", name), Linkname: "sh", Mode: 0o777}, nil))
		}
	}
	return b.Bytes(), errors.Join(append(errs, w.Close())...)
}
