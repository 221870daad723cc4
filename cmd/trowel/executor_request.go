package main

import (
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/config"
)

// executorJob is what an executor is asked for, as Trowel does it.
type executorJob struct {
	flags    *buildFlags
	settings config.Config
	request  host.Request
	said     []remark
	opened   []io.Closer
}

// close gives up what the job opened.
func (j *executorJob) close() error {
	var errs []error
	for _, c := range j.opened {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// executorJob turns kaniko's flags into a request: those that build has become build's, the rest is put into the request.
func (p program) executorJob(o *executorFlags) (*executorJob, error) {
	if err := errors.Join(o.check(), o.destinationFlags.check()); err != nil {
		return nil, err
	}
	environment := p.environ()
	c, err := o.readContext(environment)
	if err != nil {
		return nil, err
	}
	j := &executorJob{said: c.said}
	if j.flags, err = o.buildFlags(c.dockerfile, environment); err != nil {
		return nil, err
	}
	if j.settings, err = p.loadConfig(j.flags); err != nil {
		return nil, usageError{err}
	}
	if j.request, err = p.request(j.flags, j.settings, c.at); err != nil {
		return nil, err
	}
	r := &j.request
	r.ContextDir, r.IgnorePaths, r.OneLayer = c.dir, o.ignorePaths, host.Switch(o.singleSnapshot)
	r.EarlierStages = host.Switch(!o.skipUnused)
	if len(o.targets) > 1 {
		r.AlsoTargets = o.targets[1:]
	}
	r.SkipPushCheck, r.KeepImmutable = host.Switch(o.skipPushCheck), host.Switch(o.keepImmutable)
	maps.Copy(r.Secrets, c.secrets)
	if o.reproducible && r.Epoch == nil && r.EpochFrom == "" {
		epoch := time.Unix(0, 0).UTC()
		r.Epoch = &epoch
	}
	if r.RegistryAttempts, err = o.attempts(o.extractRetry); err != nil {
		return nil, err
	}
	if err := o.reach(r, c.unverified); err != nil {
		return nil, err
	}
	for _, name := range privateRegistries(r.Registries) {
		j.said = append(j.said, warn("%s is in a private network by its name: as with kaniko, any certificate will do, and plain HTTP if it speaks no HTTPS; "+
			"--registry-certificate %[1]s=FILE has it verified", name))
	}
	if upstream := environment["UPSTREAM_CLIENT_TYPE"]; upstream != "" {
		r.UserAgent += "," + upstream
	}
	if r.Credentials, err = p.kanikoCredentials(o.kanikoDir, &o.registryFlags); err != nil {
		return nil, err
	}
	return j, o.applyCache(j)
}

// reach says how registries are reached.
func (o *executorFlags) reach(r *host.Request, unverified string) (err error) {
	pushed := o.destinations
	if o.noPush {
		pushed = nil
	}
	if r.Registries, r.DefaultRegistry, err = o.registryFlags.apply(r.Registries, pushed); err != nil {
		return err
	}
	if unverified != "" {
		s := r.Registries[unverified]
		s.TLS = config.TLSSkip
		r.Registries[unverified] = s
	}
	return nil
}

// check finds what makes no sense whatever the rest is.
func (o *executorFlags) check() error {
	switch {
	case !o.noPush && len(o.destinations) == 0:
		return usageError{errors.New("there is no --destination to push to; --no-push builds without one")}
	case len(o.destinations) == 0 && (o.nameDigestFile != "" || o.tagDigestFile != ""):
		return usageError{errors.New("--image-name-with-digest-file and --image-name-tag-with-digest-file need a --destination")}
	case o.dockerfile == "":
		return usageError{errors.New("--dockerfile is empty: name a file")}
	case o.imageFormat == "docker" && o.compression == "zstd":
		return usageError{errors.New("--compression zstd is for --image-format oci: images of Docker's format have no such layers")}
	case o.materialize:
		return usageError{hinted{errors.New("--materialize is not supported: Trowel builds in a root file system of its own, and never unpacks the image over the machine's"), "write the image's files with: trowel build -o type=local,dest=DIR"}}
	}
	for flag, value := range map[string]struct {
		is   string
		want []string
	}{
		"image-format": {o.imageFormat, []string{"", "oci", "docker"}},
		"compression":  {o.compression, []string{"gzip", "zstd"}},
	} {
		if !contains(value.want, value.is) {
			return usageError{fmt.Errorf("--%s %q: want %s", flag, value.is, strings.TrimPrefix(strings.Join(value.want, " or "), " or "))}
		}
	}
	for _, pair := range o.annotations {
		if !strings.Contains(pair, "=") {
			return usageError{fmt.Errorf("--annotation %q: want KEY=VALUE", pair)}
		}
	}
	return nil
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}

// buildFlags are the flags of build that ask for the same.
func (o *executorFlags) buildFlags(dockerfile string, environment map[string]string) (*buildFlags, error) {
	f := &buildFlags{
		file: dockerfile, tags: o.destinations, push: !o.noPush, network: "default",
		labels: o.labels, annotations: o.annotations, secrets: o.secrets, compression: o.compression,
		progress: o.progress(), rewriteTimestamp: o.reproducible, overwriteRoot: host.Switch(o.force),
		noCache: !o.cache || !o.cacheRuns,
	}
	if len(o.targets) > 0 {
		f.target = o.targets[0]
	}
	if o.platform != "" {
		f.platforms = []string{kanikoPlatform(o.platform)}
	}
	if o.compressionLevel > 0 {
		f.compressionLevel = o.compressionLevel
	}
	for _, arg := range o.buildArgs {
		if !strings.Contains(arg, "=") {
			arg += "=" + environment[arg]
		}
		f.buildArgs = append(f.buildArgs, arg)
	}
	if o.flags.Changed("kaniko-dir") || environment["KANIKO_DIR"] != "" {
		f.workDir = filepath.Join(o.kanikoDir, "trowel", "work")
	}
	return f, o.addOutputs(f)
}

// addOutputs says what is written beside what is pushed.
func (o *executorFlags) addOutputs(f *buildFlags) error {
	if o.imageFormat == "docker" {
		f.outputs = append(f.outputs, "type=image,oci-mediatypes=false,compression="+o.compression)
	}
	for _, out := range []struct{ spec, path string }{{"type=docker", o.tarPath}, {"type=oci,tar=false", o.layoutPath}} {
		if out.path == "" {
			continue
		}
		path, err := filepath.Abs(out.path)
		if err != nil {
			return err
		}
		field, err := csvField("dest=" + path)
		if err != nil {
			return err
		}
		f.outputs = append(f.outputs, out.spec+","+field)
	}
	return nil
}

// csvField is a text as a field of --output.
func csvField(text string) (string, error) {
	var b strings.Builder
	w := csv.NewWriter(&b)
	if err := w.Write([]string{text}); err != nil {
		return "", err
	}
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n"), w.Error()
}

func basicAuth(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}
