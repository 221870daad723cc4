package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/trowel-build/trowel/testdata/boximage"
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

// baseImage makes the image.
func baseImage() (v1.Image, error) {
	if at := os.Getenv(envShell); at != "" {
		return boximage.New(at)
	}
	dir, err := os.MkdirTemp("", "shell-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	shell := filepath.Join(dir, "sh")
	if err := boximage.Compile(context.Background(), "../..", shell); err != nil {
		return nil, err
	}
	return boximage.New(shell)
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
