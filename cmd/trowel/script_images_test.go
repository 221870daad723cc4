package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
)

// makeBase pushes a small image with a shell: mkbase REFERENCE [ONBUILD...].
func (s *scenarios) makeBase(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "mkbase REFERENCE [ONBUILD...]")
	s.base.Do(func() { s.image, s.baseErr = baseImage() })
	check(ts, s.baseErr)
	img := s.image
	if len(args) > 1 {
		config, err := img.ConfigFile()
		check(ts, err)
		config = config.DeepCopy()
		config.Config.OnBuild = args[1:]
		img, err = mutate.ConfigFile(img, config)
		check(ts, err)
	}
	check(ts, push(args[0], img))
}

func push(reference string, img v1.Image) error {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return err
	}
	return remote.Write(ref, img)
}

// baseImage makes the image: the shell, users, and directories that are usual.
func baseImage() (v1.Image, error) {
	dir, err := os.MkdirTemp("", "shell-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	shell := filepath.Join(dir, "sh")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", shell, "./testdata/shell")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if at := os.Getenv(envShell); at != "" {
		shell = at
	} else if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the shell: %w\n%s", err, out)
	}
	program, err := os.ReadFile(shell)
	if err != nil {
		return nil, err
	}
	files, err := baseFiles(program)
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
	config.OS, config.Architecture = "linux", goArch()
	config.Config.Env = []string{"PATH=/bin"}
	return mutate.ConfigFile(img, config)
}

// baseFiles is the tar of the image's one layer.
func baseFiles(shell []byte) ([]byte, error) {
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
		add(tar.Header{Name: "bin/sh", Mode: 0o755}, shell),
		add(tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")),
		add(tar.Header{Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\napp:x:1000:\nwheel:x:10:app\nstaff:x:50:\n")),
		add(tar.Header{Name: "var/kept", Mode: 0o644}, []byte("from the base\n")),
		w.Close(),
	)
	return b.Bytes(), errors.Join(errs...)
}

// makeIndex pushes an index of images for two platforms, with an attestation for the first: mkindex REFERENCE.
func makeIndex(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "mkindex REFERENCE")
	ref, err := name.ParseReference(args[0])
	check(ts, err)
	var all []mutate.IndexAddendum
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := random.Image(2000, 2)
		check(ts, err)
		config, err := img.ConfigFile()
		check(ts, err)
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", arch
		img, err = mutate.ConfigFile(img, config)
		check(ts, err)
		all = append(all, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	subject, err := all[0].Add.Digest()
	check(ts, err)
	attestation, err := random.Image(100, 1)
	check(ts, err)
	all = append(all, mutate.IndexAddendum{Add: attestation, Descriptor: v1.Descriptor{
		Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{
			"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject.String(),
		},
	}})
	index := mutate.IndexMediaType(mutate.AppendManifests(empty.Index, all...), types.OCIImageIndex)
	check(ts, remote.WriteIndex(ref, index))
	digest, err := index.Digest()
	check(ts, err)
	ts.Setenv("INDEX", digest.String())
}

// makeDocker writes two images as docker save did before version 25: mkdocker FILE.
func makeDocker(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "mkdocker FILE")
	layer := func(file string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		check(ts, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file, Mode: 0o644, Size: 1}))
		_, err := w.Write([]byte("x"))
		check(ts, errors.Join(err, w.Close()))
		return b.Bytes()
	}
	config := func(layers ...[]byte) []byte {
		ids := ""
		for _, l := range layers {
			ids += fmt.Sprintf(`,"sha256:%x"`, sha256.Sum256(l))
		}
		return fmt.Appendf(nil, `{"architecture":%q,"os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%s]}}`, goArch(), ids[1:])
	}
	shared, own := layer("shared"), layer("in-first")
	manifest := `[{"Config":"1.json","RepoTags":["first:1"],"Layers":["aa/layer.tar","bb/layer.tar"]},` +
		`{"Config":"2.json","RepoTags":["second:latest"],"Layers":["cc/layer.tar"]}]`
	f, err := os.Create(ts.MkAbs(args[0]))
	check(ts, err)
	w := tar.NewWriter(f)
	for _, m := range []struct {
		name string
		text []byte
	}{
		{"aa/layer.tar", shared},
		{"bb/layer.tar", own},
		{"1.json", config(shared, own)},
		{"2.json", config(shared)},
		{"manifest.json", []byte(manifest)},
	} {
		check(ts, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m.name, Mode: 0o644, Size: int64(len(m.text))}))
		_, err := w.Write(m.text)
		check(ts, err)
	}
	check(ts, w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "cc/layer.tar", Linkname: "../aa/layer.tar"}))
	check(ts, errors.Join(w.Close(), f.Close()))
}
