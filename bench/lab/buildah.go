package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Buildah is buildah with a storage of its own.
type Buildah struct {
	root    string
	storage []string // the flags for it
	policy  string   // a minimal installation has none
}

// NewBuildah returns buildah with an empty storage, on overlay where the kernel and the file system allow that.
func (l *Lab) NewBuildah(ctx context.Context) (*Buildah, error) {
	if err := l.Install(ctx, "buildah", "runc"); err != nil {
		return nil, err
	}
	policy := filepath.Join(l.run, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644); err != nil {
		return nil, fmt.Errorf("prepare buildah: %w", err)
	}
	var errs []error
	for _, driver := range []string{"overlay", "vfs"} {
		root, err := l.Dir("buildah")
		if err != nil {
			return nil, err
		}
		storage := []string{"--root", filepath.Join(root, "storage"), "--runroot", filepath.Join(root, "run"), "--storage-driver", driver}
		b := &Buildah{root: root, storage: storage, policy: policy}
		// A working storage is one that a container can be mounted from.
		if _, err = output(b.command(ctx, "from", "--signature-policy", policy, "--name", "probe", "scratch")); err == nil {
			_, err = output(b.command(ctx, "mount", "probe"))
		}
		if err == nil {
			return b, b.Prune(ctx)
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("prepare buildah: %w", errors.Join(errs...))
}

// command returns a command of buildah on its storage.
func (b *Buildah) command(ctx context.Context, arguments ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "buildah", append(slices.Clone(b.storage), arguments...)...)
}

// Build builds the Dockerfile of a directory, a layer for each instruction as the others do, and pushes the image.
// More arguments are given to `buildah build`.
func (b *Buildah) Build(ctx context.Context, dir, reference string, log io.Writer, arguments ...string) error {
	all := []string{
		"build", "--signature-policy", b.policy, "--isolation=chroot", "--network=host", "--layers", "--format=oci",
		"--tls-verify=false", "-t", reference,
	}
	all = append(append(all, arguments...), dir)
	if err := logged(b.command(ctx, all...), log); err != nil {
		return err
	}
	return logged(b.command(ctx, "push", "--signature-policy", b.policy, "--tls-verify=false", reference, "docker://"+reference), log)
}

// Prune empties the storage.
func (b *Buildah) Prune(context.Context) error {
	if err := errors.Join(unmountBelow(b.root), os.RemoveAll(b.root)); err != nil {
		return fmt.Errorf("empty the storage of buildah: %w", err)
	}
	return nil
}
