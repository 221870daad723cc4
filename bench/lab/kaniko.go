package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// kanikoModule is the last kaniko that its authors released.
const (
	kanikoModule  = "github.com/GoogleContainerTools/kaniko"
	kanikoVersion = "v1.24.0"
	// KanikoImage is the name of kaniko's image in the engine that [Lab.ImportKaniko] gives it to.
	KanikoImage = "kaniko:" + kanikoVersion
)

// ImportKaniko compiles kaniko and makes the image that its authors made of it: the program, certificates and its directories.
func (l *Lab) ImportKaniko(ctx context.Context, docker *Docker) error {
	binary, err := l.compileKaniko(ctx)
	if err != nil {
		return err
	}
	files, err := kanikoFiles(binary)
	if err != nil {
		return fmt.Errorf("make kaniko's image: %w", err)
	}
	cmd := docker.Command(ctx, "import", "--change", `ENTRYPOINT ["/kaniko/executor"]`, "--change", "WORKDIR /workspace",
		"--change", "ENV PATH=/usr/local/bin:/kaniko HOME=/root USER=root SSL_CERT_DIR=/kaniko/ssl/certs DOCKER_CONFIG=/kaniko/.docker/",
		"-", KanikoImage)
	cmd.Stdin = files
	_, err = output(cmd)
	return err
}

// compileKaniko does so once, in a small module that requires kaniko: see [Lab.compileBuildKit].
func (l *Lab) compileKaniko(ctx context.Context) (string, error) {
	binary := filepath.Join(l.dir, "bin", "kaniko-"+kanikoVersion)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	l.logf("compile kaniko %s (some minutes)", kanikoVersion)
	command := kanikoModule + "/cmd/executor"
	return binary, l.compile(ctx, kanikoModule, kanikoVersion, binary, command)
}

// kanikoFiles is the archive of the image's files.
func kanikoFiles(binary string) (io.Reader, error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	certificates, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	errs := []error{w.WriteHeader(&tar.Header{Name: "workspace/", Mode: 0o755, Typeflag: tar.TypeDir})}
	for _, f := range []struct {
		name    string
		mode    int64
		content []byte
	}{
		{"kaniko/executor", 0o755, program},
		{"kaniko/ssl/certs/ca-certificates.crt", 0o644, certificates},
		{"kaniko/.docker/config.json", 0o644, []byte("{}\n")},
	} {
		errs = append(errs, w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg}))
		_, err := w.Write(f.content)
		errs = append(errs, err)
	}
	return &archive, errors.Join(append(errs, w.Close())...)
}
