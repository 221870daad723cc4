package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// executorFlags are the values of the flags of kaniko's executor.
type executorFlags struct {
	kanikoLog
	registryFlags
	destinationFlags

	dockerfile, context, subPath, bucket string
	buildArgs, targets, labels           []string
	annotations, secrets, ignorePaths    []string
	platform, tarPath, layoutPath        string
	imageFormat, compression, kanikoDir  string
	compressionLevel                     int
	git                                  gitFlag
	noPush, force, reproducible, dryrun  bool
	singleSnapshot, materialize          bool
	skipUnused                           bool

	cache, noPushCache, cacheRuns bool
	cacheRepo, cacheDir           string
	cacheTTL                      time.Duration
	extractRetry                  int

	flags *pflag.FlagSet
}

// destinationFlags are those about where an image goes, which `executor push` has too.
type destinationFlags struct {
	destinations                              []string
	skipPushCheck                             bool
	digestFile, nameDigestFile, tagDigestFile string
}

func (d *destinationFlags) register(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&d.destinations, "destination", "d", nil, "push the image as `NAME[:TAG]`; may be repeated, also for several registries")
	flags.BoolVar(&d.skipPushCheck, "skip-push-permission-check", false, "do not ask the registry for permission before there is anything to push")
	flags.StringVar(&d.digestFile, "digest-file", "", "write the image's digest to this `FILE`, or send it to an https address with PUT")
	flags.StringVar(&d.nameDigestFile, "image-name-with-digest-file", "", "write NAME@DIGEST of each destination to this `FILE` or https address, a line each")
	flags.StringVar(&d.tagDigestFile, "image-name-tag-with-digest-file", "", "write NAME:TAG@DIGEST of each destination to this `FILE` or https address, a line each")
}

// kanikoPlatform is a platform as kaniko reads it: an empty variant is none, as in linux/amd64/.
func kanikoPlatform(name string) string {
	if strings.Count(name, "/") == 2 {
		return strings.TrimSuffix(name, "/")
	}
	return name
}

func (o *executorFlags) register(flags *pflag.FlagSet) {
	o.flags = flags
	o.kanikoLog.register(flags)
	o.registerInputs(flags)
	o.destinationFlags.register(flags)
	o.registerOutputs(flags)
	o.registerCache(flags)
	o.registryFlags.registerPull(flags)
	o.registryFlags.registerPush(flags)
	addIdle(flags, executorIdle)
	addOld(flags, "snapshotMode", "snapshot-mode")
	addOld(flags, "customPlatform", "custom-platform")
	addOld(flags, "tarPath", "tar-path")
	addOld(flags, "whitelist-var-run", "ignore-var-run")
	for name, variable := range map[string]string{
		"no-push": "KANIKO_NO_PUSH", "kaniko-dir": "KANIKO_DIR", "registry-mirror": "KANIKO_REGISTRY_MIRROR", "registry-map": "KANIKO_REGISTRY_MAP",
		"cleanup": "KANIKO_CLEANUP", "pre-cleanup": "KANIKO_PRE_CLEANUP", "preserve-context": "KANIKO_PRESERVE_CONTEXT",
	} {
		mark(flags, name, markEnv, variable)
	}
}

func (o *executorFlags) registerInputs(flags *pflag.FlagSet) {
	flags.StringVarP(&o.dockerfile, "dockerfile", "f", "Dockerfile", "the Dockerfile: a path, or else one in the context, or an http(s) address")
	flags.StringVarP(&o.context, "context", "c", "/workspace/", "the build context: a directory, dir://DIR, tar://FILE, tar://stdin, git://HOST/REPOSITORY[#REF][#COMMIT] or the http(s) address of an archive")
	flags.StringVar(&o.subPath, "context-sub-path", "", "build the `DIR` of a context that is named with ://")
	flags.StringVarP(&o.bucket, "bucket", "b", "", "a bucket that has the context; refused: see --context")
	flags.Var(&o.git, "git", "how a git context is fetched: branch=NAME, recurse-submodules=true, insecure-skip-tls=true; single-branch and depth have no meaning, for no more than the commit is fetched")
	flags.StringArrayVar(&o.buildArgs, "build-arg", nil, "set an ARG: NAME=VALUE, or NAME to take it from the environment, where an unset variable is empty")
	flags.StringSliceVar(&o.targets, "target", nil, "build this `STAGE` (default: the last one); of several all are built, and the first is the image")
	flags.StringVar(&o.platform, "custom-platform", "", "build for this `PLATFORM` (default: this machine's)")
	flags.StringArrayVar(&o.labels, "label", nil, "add a label to the image: KEY=VALUE")
	flags.StringArrayVar(&o.annotations, "annotation", nil, "add an annotation to the manifest: KEY=VALUE")
	flags.StringArrayVar(&o.secrets, "secret", nil, "give RUN --mount=type=secret a secret: id=ID[,src=FILE|,env=NAME][,type=file|env]")
	flags.BoolVar(&o.force, "force", false, "let RUN have the container's own root directory, as kaniko's does, where no namespaces can be had and the image does not say that it may; never on a machine")
	flags.BoolVar(&o.dryrun, "dryrun", false, "print the Dockerfile as it would be built, without what the image does not need, and build nothing")
	flags.StringVar(&o.kanikoDir, "kaniko-dir", kanikoHome, "look for .docker/config.json in this `DIR` as well; a directory that is named holds the work of the build too")
	flags.BoolVar(&o.skipUnused, "skip-unused-stages", true, "build only the stages that the image needs; false builds those before it too")
	flags.BoolVar(&o.materialize, "materialize", false, "true is refused: Trowel does not unpack the image over its own root file system")
	flags.StringArrayVar(&o.ignorePaths, "ignore-path", nil, "leave what RUN changes at this `PATH` or below it out of the image; may be repeated")
}

func (o *executorFlags) registerOutputs(flags *pflag.FlagSet) {
	flags.BoolVar(&o.noPush, "no-push", false, "push nothing")
	flags.StringVar(&o.tarPath, "tar-path", "", "write what docker load reads to this `FILE` as well")
	flags.StringVar(&o.layoutPath, "oci-layout-path", "", "write an OCI layout to this `DIR` as well")
	flags.StringVar(&o.imageFormat, "image-format", "", "the media types of the image: oci or docker (default: oci)")
	flags.StringVar(&o.compression, "compression", "gzip", "compress layers with gzip or zstd")
	flags.IntVar(&o.compressionLevel, "compression-level", -1, "how hard to compress, on the codec's own scale; -1 and 0 are Trowel's default")
	flags.BoolVar(&o.reproducible, "reproducible", false, "give image and layers no time after SOURCE_DATE_EPOCH, or 1970 where that is not set; layers of base images stay")
	flags.BoolVar(&o.singleSnapshot, "single-snapshot", false, "make one layer of all that the image has beyond its base")
}

func (o *executorFlags) registerCache(flags *pflag.FlagSet) {
	flags.BoolVar(&o.cache, "cache", false, "take steps that earlier builds made from the cache, and keep those that are made")
	flags.StringVar(&o.cacheRepo, "cache-repo", "", "the `REPOSITORY` that is the cache, or oci:DIR (default: cache below the first destination)")
	flags.StringVar(&o.cacheDir, "cache-dir", "/cache", "keep base images in this `DIR` if it exists: in trowel below it, which the warmer fills as well")
	flags.DurationVar(&o.cacheTTL, "cache-ttl", 14*24*time.Hour, "take no step from the cache that was made longer ago")
	flags.BoolVar(&o.noPushCache, "no-push-cache", false, "read the cache, and keep nothing in it")
	flags.BoolVar(&o.cacheRuns, "cache-run-layers", true, "false makes every step anew, and keeps it all the same")
	flags.IntVar(&o.extractRetry, "image-fs-extract-retry", 0, "as --image-download-retry")
}

// executorIdle are the executor's flags without a meaning here.
var executorIdle = []idle{
	{name: "cache-copy-layers", kind: boolValue, def: "false", why: "layers of COPY and ADD are always cached"},
	{name: "compressed-caching", kind: boolValue, def: "true", why: "layers are streamed to disk and never held in memory"},
	{name: "snapshot-mode", kind: stringValue, def: "full", words: []string{"full", "redo", "time"}, why: "snapshots compare what the kernel cannot be made to lie about, and cost what redo costs"},
	{name: "use-new-run", kind: boolValue, def: "false", why: "snapshots are cheap, and lose no deletion"},
	{name: "cleanup", kind: boolValue, def: "false", why: "a build leaves nothing behind"},
	{name: "pre-cleanup", kind: boolValue, def: "false", why: "a build does not see what others left"},
	{name: "preserve-context", kind: boolValue, def: "false", why: "the build context is never changed"},
	{name: "ignore-var-run", kind: boolValue, def: "true", why: "nothing of the machine is mounted at /var/run: what is there is the image's"},
	{name: "force-build-metadata", kind: boolValue, def: "false", why: "instructions that change nothing but the configuration are always in the history"},
	{name: "azure-container-registry-config", kind: stringValue, why: "it was never kaniko's own: see --credential-helpers"},
}

// gitFlag is --git, a list of key=value.
type gitFlag struct {
	branch                      string
	submodules, insecureSkipTLS bool
	given                       []string
}

// Set reads one or several pairs.
func (g *gitFlag) Set(text string) error {
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("%q: want key=value", pair)
		}
		var err error
		switch key {
		case "branch":
			g.branch = value
		case "recurse-submodules":
			g.submodules, err = parseBool(value)
		case "insecure-skip-tls":
			g.insecureSkipTLS, err = parseBool(value)
		case "single-branch":
			_, err = parseBool(value)
		case "depth":
			_, err = strconv.Atoi(value)
		default:
			return fmt.Errorf("unknown key %q: there are branch, single-branch, depth, recurse-submodules and insecure-skip-tls", key)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		g.given = append(g.given, pair)
	}
	return nil
}

// String is what was given.
func (g *gitFlag) String() string { return strings.Join(g.given, ",") }

// Type is shown in help texts.
func (g *gitFlag) Type() string { return "key=value" }

func parseBool(text string) (bool, error) {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, errors.New("want true or false")
	}
	return b, nil
}
