package host

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"strings"
	"unicode"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// hostname is that of every RUN, as BuildKit has it: nothing of the machine shall get into an image. The build argument
// BUILDKIT_SANDBOX_HOSTNAME changes it.
const hostname = "buildkitsandbox"

// hostname is that of this build's RUNs.
func (r *Request) hostname() (string, error) {
	name := r.BuildArgs["BUILDKIT_SANDBOX_HOSTNAME"]
	if name == "" {
		return hostname, nil
	}
	if len(name) > 64 || strings.ContainsFunc(name, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }) {
		return "", fmt.Errorf("build argument BUILDKIT_SANDBOX_HOSTNAME %q: want a host name of at most 64 characters", name)
	}
	return name, nil
}

// NewLauncher makes this program able to run the processes of RUN. A process of RUN starts as another run of this very
// program: call NewLauncher first thing in main. In such a run it does not return.
func NewLauncher() *Launcher { return executor.Main() }

// Harden keeps other processes of the same user, such as those of a RUN that shares its user, from reading this one's
// memory, environment and descriptors. A program that holds credentials calls it first thing after [NewLauncher].
func Harden() error { return executor.Harden() }

// runOptions are what all processes of the build have in common.
func (b *build) runOptions() (stage.Run, error) {
	name, err := b.hostname()
	if err != nil {
		return stage.Run{}, err
	}
	r := stage.Run{Hostname: name}
	switch n := effect.Network(b.Network); n {
	case "":
		r.Network = effect.NetworkDefault
	case effect.NetworkDefault, effect.NetworkHost, effect.NetworkNone:
		r.Network = n
	default:
		return r, fmt.Errorf(`network %q: want "default", "host" or "none"`, b.Network)
	}
	if r.ShmSize = b.ShmSize; r.ShmSize < 0 {
		return r, fmt.Errorf("size %d of /dev/shm: want 0 or more", b.ShmSize)
	}
	if r.Limits, err = parseUlimits(b.Ulimits); err != nil {
		return r, err
	}
	if r.ResolvConf, err = os.ReadFile("/etc/resolv.conf"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return r, fmt.Errorf("read the machine's name servers: %w", err)
	}
	if r.ResolvConf == nil {
		r.ResolvConf = []byte{}
	}
	r.Hosts, err = hosts(name, b.ExtraHosts)
	return r, err
}

// hosts is the /etc/hosts that RUN sees.
func hosts(own string, extra []string) (string, error) {
	var text strings.Builder
	text.WriteString("127.0.0.1\tlocalhost " + own + "\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, x := range extra {
		// docker takes both separators; an IPv6 address has colons of its own.
		name, ip, ok := strings.Cut(x, "=")
		if !ok {
			name, ip, ok = strings.Cut(x, ":")
		}
		ip = strings.Trim(ip, "[]")
		if !ok || name == "" || strings.ContainsAny(name, " \t\n") || net.ParseIP(ip) == nil {
			return "", fmt.Errorf("extra host %q: want HOST:IP", x)
		}
		text.WriteString(ip + "\t" + name + "\n")
	}
	return text.String(), nil
}

// layerForm says what else is done to the image's layers.
func (b *build) layerForm() (f stage.Form) {
	f.Base = b.targets.base
	for _, p := range b.IgnorePaths {
		if p = strings.Trim(path.Clean("/"+p), "/"); p != "" {
			f.Ignore = append(f.Ignore, p)
		}
	}
	if b.OneLayer {
		f.Layers = stage.OneLayer
	}
	rewrite := bool(b.RewriteTimestamp)
	if b.targets.rewrite != nil {
		rewrite = *b.targets.rewrite
	}
	if !rewrite {
		return f
	}
	if b.Epoch == nil {
		b.progress().Report(warning("rewrite-timestamp has no effect without SOURCE_DATE_EPOCH"))
	}
	f.NotAfter = b.Epoch
	return f
}

// layerOptions says how the image's layers are compressed: as an output wants, or else as the request does.
func (b *build) layerOptions() (layer.Options, error) {
	o := layer.Options{Compression: b.targets.compression, Level: b.CompressionLevel}
	if b.targets.level != nil {
		o.Level = *b.targets.level
	}
	if o.Compression != "" {
		return o, o.Check()
	}
	switch b.Compression {
	case "", "gzip":
		o.Compression = image.Gzip
	case "zstd":
		o.Compression = image.Zstd
	case "none":
		o.Compression = image.Uncompressed
	default:
		return o, fmt.Errorf(`compression %q: want "gzip", "zstd" or "none"`, b.Compression)
	}
	return o, o.Check()
}
