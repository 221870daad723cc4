package host

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"github.com/trowel-build/trowel/host/internal/executor"
)

// inPlaceNotice says what the rung is not.
const inPlaceNotice = "RUN runs in place, in this container's own root directory, one process at a time: it is not isolated from the container, " +
	"and what it writes where the container has a mount is in no image; trowel doctor tells what would give better"

// consent is who has agreed that the root directory may be overwritten, where an isolation may do that at all.
func consent(isolation string, overwrite Switch) (executor.Consent, bool) {
	switch isolation {
	case IsolationInPlace:
		return executor.ConsentUser, true
	case "", IsolationAuto:
		if overwrite {
			return executor.ConsentUser, true
		}
		return executor.ConsentImage, true
	}
	return "", false
}

// InPlaceDir is where a build keeps its files if its processes may come to run in place, "" elsewhere; see [Request.Isolation]
// and [Request.OverwriteRoot]. It lies on the root file system, where the processes' root file systems must be made, and no RUN
// that empties a directory of the image empties it. What is read while a process runs, such as a cache, is found there by its
// path; in the user's directories it is not.
func InPlaceDir(isolation string, overwrite Switch) string {
	who, ok := consent(isolation, overwrite)
	if !ok || os.Geteuid() != 0 || executor.Disposable(who) != nil {
		return ""
	}
	return executor.HiddenDir
}

// Recover puts the root directory in order if a build was killed while a process ran in place. A program calls it after
// [Harden], before it relies on any path.
func Recover(ctx context.Context) error { return executor.Recover(ctx) }

// workParent is where the directory of this build is made.
func (b *build) workParent() string {
	if dir := InPlaceDir(b.Isolation, b.OverwriteRoot); b.WorkDir == "" && dir != "" {
		return filepath.Join(dir, "work")
	}
	return b.WorkDir
}

// tryInPlace is try for the way that overwrites the root directory.
func (b *build) tryInPlace(ctx context.Context) error {
	who, _ := consent(b.Isolation, b.OverwriteRoot)
	if err := executor.Disposable(who); err != nil {
		return err
	}
	if err := executor.CheckInPlace(b.work.trees); err != nil {
		return err
	}
	b.gate.pause, b.gate.warn = b.Pause, func(text string) { b.progress().Report(warning(text)) }
	b.readSecrets(ctx)
	if _, err := x509.SystemCertPool(); err != nil { // read now, for later they are an image's
		return fmt.Errorf("read certificates: %w", err)
	}
	return nil
}
