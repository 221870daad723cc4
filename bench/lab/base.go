package lab

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/pgzip"
)

const (
	baseSuite    = "bookworm"
	baseRecipe   = "2" // changes when the way a base is made does
	basePackages = "perl,ca-certificates"
	// authorities is where Debian keeps the certificate authorities of the local administrator.
	authorities = "/usr/local/share/ca-certificates"
)

// PushBase makes a Debian 12 image, unless an earlier run did, and pushes it as library/debian:12. Its apt is
// configured as that of this machine is: the same mirror, proxy and certificate authorities.
func (l *Lab) PushBase(ctx context.Context, registry *Registry) error {
	sources, err := l.aptSources(ctx)
	if err != nil {
		return err
	}
	options, err := aptOptions(ctx)
	if err != nil {
		return err
	}
	recipe := sha256.Sum256([]byte(baseRecipe + baseSuite + basePackages + "\x00" + sources + "\x00" + options))
	archive := filepath.Join(l.dir, fmt.Sprintf("debian-12-%x.tar.gz", recipe[:6]))
	if _, err := os.Stat(archive); err != nil {
		if err := l.bootstrap(ctx, sources, options, archive); err != nil {
			return fmt.Errorf("make base image: %w", err)
		}
	}
	image, err := baseImage(archive)
	if err != nil {
		return fmt.Errorf("make base image: %w", err)
	}
	tag, err := name.NewTag(registry.Address+"/library/debian:12", name.Insecure)
	if err != nil {
		return fmt.Errorf("push base image: %w", err)
	}
	if err := remote.Write(tag, image, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("push base image %q: %w", tag, err)
	}
	return nil
}

// aptSources returns the lines of a sources.list for the base: the places this machine gets Debian from.
func (l *Lab) aptSources(ctx context.Context) (string, error) {
	list := func() (string, error) {
		return output(exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(SITE) $(CODENAME) $(COMPONENT)",
			"Created-By: Packages", "Origin: Debian"))
	}
	text, err := list()
	if err == nil && text == "" { // the origin is known only after an update
		l.logf("apt-get update")
		if _, err = output(exec.CommandContext(ctx, "apt-get", "update")); err == nil {
			text, err = list()
		}
	}
	if err != nil {
		return "", fmt.Errorf("read apt's sources: %w", err)
	}
	var same, other []string // lines of the base's suite, and those made from another release's
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "main" {
			continue
		}
		site, suite := fields[0], fields[1]
		if suite == baseSuite || strings.HasPrefix(suite, baseSuite+"-") {
			same = append(same, fmt.Sprintf("deb %s %s main\n", site, suite))
		} else if !strings.Contains(suite, "-") {
			other = append(other, fmt.Sprintf("deb %s %s main\n", site, baseSuite))
		}
	}
	if len(same) == 0 {
		same = other
	}
	if len(same) == 0 {
		return "", errors.New(`read apt's sources: no source of "Debian" among them; the lab needs a Debian machine with its archive in /etc/apt/sources.list`)
	}
	slices.Sort(same)
	return strings.Join(slices.Compact(same), ""), nil
}

// aptOptions returns how apt fetches on this machine, as lines of an apt.conf.
func aptOptions(ctx context.Context) (string, error) {
	text, err := output(exec.CommandContext(ctx, "apt-config", "dump"))
	if err != nil {
		return "", fmt.Errorf("read apt's configuration: %w", err)
	}
	kept := []string{
		"Acquire::http::", "Acquire::https::", "Acquire::Check-Valid-Until ", "Acquire::Check-Date ",
		"Acquire::ForceIPv4 ", "Acquire::ForceIPv6 ", "Acquire::Retries ",
	}
	var options strings.Builder
	for line := range strings.Lines(text) {
		// A proxy is detected by a program that the image does not have.
		if !strings.Contains(line, "Auto-Detect") && slices.ContainsFunc(kept, func(p string) bool { return strings.HasPrefix(line, p) }) {
			options.WriteString(line)
		}
	}
	for _, scheme := range []string{"http", "https"} {
		option := "Acquire::" + scheme + "::Proxy "
		if proxy := os.Getenv(scheme + "_proxy"); proxy != "" && !strings.Contains(options.String(), option) {
			fmt.Fprintf(&options, "%s%q;\n", option, proxy)
		}
	}
	return options.String(), nil
}

// bootstrap writes the compressed root file system of the base to archive.
func (l *Lab) bootstrap(ctx context.Context, sources, options, archive string) error {
	if err := l.Install(ctx, "mmdebstrap"); err != nil {
		return err
	}
	l.logf("mmdebstrap %s (two minutes)", baseSuite)
	list, conf, bare := filepath.Join(l.run, "sources.list"), filepath.Join(l.run, "apt.conf"), filepath.Join(l.run, "base.tar")
	if err := errors.Join(os.WriteFile(list, []byte(sources), 0o644), os.WriteFile(conf, []byte(options), 0o644)); err != nil {
		return err
	}
	arguments := []string{"--variant=minbase", "--include=" + basePackages, "--aptopt=" + conf}
	if entries, err := os.ReadDir(authorities); err == nil && len(entries) > 0 {
		arguments = append(arguments,
			"--customize-hook=sync-in "+authorities+" "+authorities,
			`--customize-hook=chroot "$1" update-ca-certificates`)
	}
	if _, err := output(exec.CommandContext(ctx, "mmdebstrap", append(arguments, baseSuite, bare, list)...)); err != nil {
		return err
	}
	stale, err := filepath.Glob(filepath.Join(l.dir, "debian-12-*.tar.gz"))
	if err != nil {
		return err
	}
	for _, other := range stale {
		if err := os.Remove(other); err != nil {
			return err
		}
	}
	return errors.Join(pack(bare, archive), os.Remove(bare))
}

// pack writes an archive anew, compressed: without devices, which an image leaves to the runtime, and as builders
// write layers. The new one appears when it is whole.
func pack(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.Create(to + ".part")
	if err != nil {
		return err
	}
	compressor := pgzip.NewWriter(out)
	if err := errors.Join(rewrite(in, compressor), compressor.Close(), out.Close()); err != nil {
		return fmt.Errorf("pack %q: %w", from, err)
	}
	return os.Rename(to+".part", to)
}

func rewrite(in io.Reader, out io.Writer) error {
	reader, writer := tar.NewReader(in), tar.NewWriter(out)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return writer.Close()
		}
		if err != nil {
			return err
		}
		header.Name = strings.TrimPrefix(header.Name, "./")
		if header.Name == "" || strings.HasPrefix(header.Name, "dev/") && header.Name != "dev/" {
			continue
		}
		if header.Typeflag == tar.TypeLink {
			header.Linkname = strings.TrimPrefix(header.Linkname, "./")
		}
		header.ModTime = header.ModTime.Truncate(time.Second)
		header.AccessTime, header.ChangeTime = time.Time{}, time.Time{}
		header.Uname, header.Gname = "", ""
		header.Format = tar.FormatPAX
		if err := writer.WriteHeader(header); err != nil {
			return fmt.Errorf("write %q: %w", header.Name, err)
		}
		if _, err := io.Copy(writer, reader); err != nil {
			return fmt.Errorf("write %q: %w", header.Name, err)
		}
	}
}

// baseImage returns the image of one layer, configured as Debian's own is.
func baseImage(archive string) (v1.Image, error) {
	layer, err := tarball.LayerFromFile(archive, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", archive, err)
	}
	info, err := os.Stat(archive)
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: info.ModTime().UTC()}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: created, CreatedBy: "mmdebstrap " + baseSuite},
	})
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Created, file.OS, file.Architecture = created, "linux", runtime.GOARCH
	file.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	file.Config.Cmd = []string{"bash"}
	return mutate.ConfigFile(image, file)
}
