package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/trowel-build/trowel/host"
)

// buildFlags are the values of build's flags.
type buildFlags struct {
	file, target, platform, network                    string
	platforms                                          []string
	tags, buildArgs, contexts                          []string
	labels, annotations, outputs                       []string
	noCacheFor, addHosts                               []string
	cacheFrom, cacheTo                                 []string
	secrets, ssh, allow, ulimits                       []string
	progress, metadataFile, iidFile                    string
	config, cacheDir, workDir, isolation, minIsolation string
	treeMemory, shmSize                                string
	compression                                        string
	compressionLevel, jobs                             int
	push, noCache, quiet                               bool
	noLocalCache, frozen                               bool
	localHolds                                         host.CacheHolds
	overwriteRoot                                      host.Switch
	rewriteTimestamp, normalizeContext                 bool
	pluginDir, lockFile                                string
	call                                               callFlag
}

func (f *buildFlags) register(flags *pflag.FlagSet) {
	flags.StringVarP(&f.file, "file", "f", "", "the Dockerfile: a path, which in an archive or repository is one inside of it, an http(s) address, or - for standard input (default: CONTEXT/Dockerfile)")
	flags.StringArrayVarP(&f.tags, "tag", "t", nil, "name the image `NAME[:TAG]`; may be repeated, also for several registries")
	flags.BoolVar(&f.push, "push", false, "push the image to the registries of its tags")
	flags.StringArrayVarP(&f.outputs, "output", "o", nil, "write the image: `type=oci|docker|tar|local|registry,dest=…`")
	flags.StringVar(&f.target, "target", "", "build this `STAGE` (default: the last one)")
	flags.StringArrayVar(&f.buildArgs, "build-arg", nil, "set an ARG: `NAME=VALUE`, or NAME to take it from the environment")
	flags.StringArrayVar(&f.contexts, "build-context", nil, "a further place for FROM and COPY --from: `NAME=DIR|ARCHIVE|http(s)://…|REPOSITORY|docker-image://…|oci-layout://…`")
	flags.StringArrayVar(&f.labels, "label", nil, "add a label to the image: `KEY=VALUE`")
	flags.StringArrayVar(&f.annotations, "annotation", nil, "add an annotation to the manifest: `KEY=VALUE`")
	flags.StringSliceVar(&f.platforms, "platform", nil, "build for these `PLATFORMS`, several as an index (default: this machine's)")
	flags.StringVar(&f.network, "network", "default", "the network of RUN: default, host or none")
	flags.StringSliceVar(&f.allow, "allow", nil, "let RUN have what it asks for: network.host, security.insecure")
	flags.StringArrayVar(&f.addHosts, "add-host", nil, "add a line to the /etc/hosts that RUN sees: `HOST:IP`")
	flags.StringVar(&f.shmSize, "shm-size", "", "let /dev/shm of RUN take this `SIZE` (default: 64m)")
	flags.StringArrayVar(&f.ulimits, "ulimit", nil, "limit what a process of RUN may use: `NAME=SOFT[:HARD]`, such as nofile=1024:2048; -1 is no limit (default: the builder's)")
	flags.StringArrayVar(&f.secrets, "secret", nil, "give the build a secret: `id=ID[,src=FILE|,env=NAME]`")
	flags.StringArrayVar(&f.ssh, "ssh", nil, "give the build an SSH agent, or keys: `default|ID[=SOCKET|KEY[,KEY]]`")
	flags.BoolVar(&f.noCache, "no-cache", false, "build every step anew; what is built is stored all the same")
	flags.StringSliceVar(&f.noCacheFor, "no-cache-filter", nil, "build the steps of these `STAGES` anew")
	flags.StringArrayVar(&f.cacheFrom, "cache-from", nil, "take steps from this cache as well: `REPOSITORY[:TAG]`, type=registry,ref=REPOSITORY[:TAG] or type=local,src=DIR; may be repeated")
	flags.StringArrayVar(&f.cacheTo, "cache-to", nil, "give this cache all that the next build needs: `REPOSITORY[:TAG]`, type=registry,ref=REPOSITORY[:TAG] or type=local,dest=DIR; may be repeated")
	flags.Bool("pull", false, "accepted; the tags of base images are always looked up anew")
	flags.StringVar(&f.progress, "progress", "auto", "how progress is shown: auto, tty, plain, quiet or rawjson")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress, only the image's digest")
	flags.StringVar(&f.metadataFile, "metadata-file", "", "write what was built to this `FILE` as JSON")
	flags.StringVar(&f.iidFile, "iidfile", "", "write the digest of the image's config to this `FILE`")

	flags.Var(&f.call, "call", "do this instead of building: check, outline or targets; `NAME,format=json` for programs")
	flags.VarPF(checkFlag{&f.call}, "check", "", "run the build checks alone, as --call=check does").NoOptDefVal = "true"

	flags.StringVar(&f.config, "config", "", "read this configuration `FILE` after the user's and the project's trowel.toml")
	flags.StringVar(&f.cacheDir, "cache-dir", "", "keep the local cache in this `DIR` (default: trowel in the user's cache directory)")
	flags.BoolVar(&f.noLocalCache, "no-local-cache", false, "neither read nor write the local cache")
	flags.StringVar(&f.workDir, "work-dir", "", "keep what the build needs while it runs in this `DIR` (default: beside the cache)")
	flags.StringVar(&f.treeMemory, "tree-memory", "", "hold up to this `SIZE` of unpacked layers in memory while RUN runs; 0 holds none (default: a quarter of what is free, at most 2GiB)")
	flags.StringVar(&f.minIsolation, "min-isolation", "", "take no weaker isolation of RUN than this, or fail: "+strings.Join(host.MinIsolations(), ", "))
	flags.StringVar(&f.isolation, "isolation", "", "how RUN is isolated: "+strings.Join(host.Isolations(), ", "))
	flags.StringVar(&f.compression, "compression", "", "compress layers with gzip, zstd or none")
	flags.IntVar(&f.compressionLevel, "compression-level", 0, "how hard to compress, on the codec's own scale; 0 is Trowel's default")
	flags.IntVar(&f.jobs, "jobs", 0, "build at most this many stages at once (default: as many as can be)")
	flags.BoolVar(&f.rewriteTimestamp, "rewrite-timestamp", false, "with SOURCE_DATE_EPOCH, give no file in the layers that are made a later time")
	flags.BoolVar(&f.normalizeContext, "normalize-context", false, "take the context's files with modes 0644 or 0755 and one time for all, whatever the umask of the checkout")
	flags.StringVar(&f.pluginDir, "plugin-dir", "", "installed plugins lie in this `DIR` (default: TROWEL_PLUGIN_DIR, or plugins in the cache's directory)")
	flags.StringVar(&f.lockFile, "lock", "", "the lock `FILE` of plugins (default: TROWEL_LOCK, or trowel.lock)")
	flags.BoolVar(&f.frozen, "frozen", false, "refuse plugins that trowel.lock does not name as they are")
	refuseFlags(flags)
}

// refused are the flags of `docker buildx build` that Trowel knows and does not have, with the reason, and the values that
// ask for nothing and are therefore fine.
var refused = []struct {
	name, short, reason string
	harmless            []string
	isBool              bool
}{
	{name: "attest", reason: "attestations are not made yet", harmless: []string{"type=provenance,disabled=true", "type=sbom,disabled=true"}},
	{name: "builder", reason: "there is no builder to choose: Trowel builds in its own process"},
	{name: "cgroup-parent", reason: "RUN stays in the builder's control group"},
	{name: "compress", reason: "it concerns the transfer to a daemon, and there is none", isBool: true},
	{name: "cpu-period", reason: "RUN stays in the builder's control group: limit the job"},
	{name: "cpu-quota", reason: "RUN stays in the builder's control group: limit the job"},
	{name: "cpu-shares", short: "c", reason: "RUN stays in the builder's control group: limit the job"},
	{name: "cpuset-cpus", reason: "RUN stays in the builder's control group: limit the job"},
	{name: "cpuset-mems", reason: "RUN stays in the builder's control group: limit the job"},
	{name: "debug", short: "D", reason: "it is a flag of buildx itself", isBool: true},
	{name: "force-rm", reason: "there are no intermediate containers to keep", isBool: true, harmless: []string{"true"}},
	{name: "load", reason: "there is no daemon to load into: write an archive and load it: trowel build -o type=docker,dest=- . | docker load", isBool: true},
	{name: "memory", short: "m", reason: "RUN stays in the builder's control group: limit the job"},
	{name: "memory-swap", reason: "RUN stays in the builder's control group: limit the job"},
	{name: "policy", reason: "source policies are not there yet"},
	{name: "provenance", reason: "provenance attestations are not made yet", harmless: []string{"false", "disabled=true"}},
	{name: "rm", reason: "there are no intermediate containers to keep", isBool: true, harmless: []string{"true"}},
	{name: "sbom", reason: "SBOM attestations are not made yet", harmless: []string{"false", "disabled=true"}},
	{name: "security-opt", reason: "the isolation of RUN is chosen with --isolation"},
	{name: "squash", reason: "layers are not squashed: it would defeat the cache of whoever pulls the image", isBool: true},
}

// refusedValue is a flag that is an error to set, unless to a value that asks for nothing.
type refusedValue struct {
	name, reason string
	harmless     []string
	isBool       bool
}

// Set refuses.
func (r refusedValue) Set(v string) error {
	for _, h := range r.harmless {
		if v == h {
			return nil
		}
	}
	if r.isBool && v == "false" {
		return nil
	}
	return fmt.Errorf("--%s is not supported: %s", r.name, r.reason)
}

// String is the empty default.
func (r refusedValue) String() string { return "" }

// Type is shown in help texts.
func (r refusedValue) Type() string {
	if r.isBool {
		return "bool"
	}
	return "string"
}

func refuseFlags(flags *pflag.FlagSet) {
	for _, r := range refused {
		flag := flags.VarPF(refusedValue{r.name, r.reason, r.harmless, r.isBool}, r.name, r.short, "not supported: "+r.reason)
		flag.Hidden = true
		if r.isBool {
			flag.NoOptDefVal = "true"
		}
	}
}

// pairs reads NAME=VALUE flags. lookup, if any, answers for a NAME alone; where it has no answer the name is left out.
func pairs(flag string, values []string, lookup func(string) (string, bool)) (map[string]string, error) {
	m := make(map[string]string, len(values))
	for _, v := range values {
		name, value, found := strings.Cut(v, "=")
		switch {
		case name == "":
			return nil, usageError{fmt.Errorf("--%s %q: want NAME=VALUE", flag, v)}
		case found:
			m[name] = value
		case lookup == nil:
			m[name] = ""
		default:
			if value, ok := lookup(name); ok {
				m[name] = value
			}
		}
	}
	return m, nil
}

// oneArgument is cobra.ExactArgs(1) with an error of the usual form.
func oneArgument(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return usageError{fmt.Errorf("%s takes one argument, the %s, and got %d", cmd.CommandPath(), what, len(args))}
	}
}
