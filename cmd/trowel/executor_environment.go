package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/config"
)

// environ is the environment by name.
func (p program) environ() map[string]string {
	all := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		all[name] = value
	}
	return all
}

// readEnvironment puts what kaniko's variables say into the flags, and says what there is to say of flags and variables.
// As with kaniko, a variable about pushing counts more than the flag, and mirrors of both count.
func (o *executorFlags) readEnvironment(environment map[string]string) ([]remark, error) {
	if v, ok := environment["KANIKO_NO_PUSH"]; ok && v != "" {
		no, err := parseBool(v)
		if err != nil {
			return nil, usageError{fmt.Errorf("environment variable KANIKO_NO_PUSH=%q: %w", v, err)}
		}
		o.noPush = no
	}
	if v := environment["KANIKO_DIR"]; v != "" && !o.flags.Changed("kaniko-dir") {
		o.kanikoDir = v
	}
	o.registryFlags.readEnvironment(environment)
	warnings, without := notes(o.flags)
	var said []remark
	for _, w := range warnings {
		said = append(said, warn("%s", w))
	}
	if without != "" {
		said = append(said, inform("%s", without))
	}
	return append(said, kanikoVariables(environment)...), nil
}

// readEnvironment adds mirrors.
func (r *registryFlags) readEnvironment(environment map[string]string) {
	if v := environment["KANIKO_REGISTRY_MIRROR"]; v != "" {
		r.mirrors = append(r.mirrors, v)
	}
	if v := environment["KANIKO_REGISTRY_MAP"]; v != "" {
		r.maps = append(r.maps, v)
	}
}

// idleVariables are kaniko's variables without a meaning here.
var idleVariables = []struct{ name, why string }{
	{"KANIKO_CLEANUP", "a build leaves nothing behind"},
	{"KANIKO_PRE_CLEANUP", "a build does not see what others left"},
	{"KANIKO_PRESERVE_CONTEXT", "the build context is never changed"},
	{"KANIKO_PRINT_PLAN", "--dryrun prints what would be built"},
	{"KANIKO_IGNORE_ASSERTIONS", "they are about kaniko's own plan"},
	{"KANIKO_TELEMETRY_ENDPOINT", "Trowel sends no telemetry"},
	{"KANIKO_TELEMETRY_OMIT_DOCKERFILE", "Trowel sends no telemetry"},
	{"SNAPSHOT_TIMEOUT_DURATION", "a snapshot takes milliseconds, and ends when the build is cancelled"},
}

// featurePrefix is how the names of kaniko's feature flags begin.
const featurePrefix = "FF_KANIKO_"

// features are kaniko's feature flags. Each makes it more like BuildKit or faster, and Trowel as if it were set.
var features = strings.Fields(`
	ADD_CHECKSUM BUILDKIT_ARG_ENV_PRECEDENCE CACHE_HASH_BLAKE3 CACHE_LOOKAHEAD CACHE_PROBE_AFTER_MISS CHOWN_ON_IMPLICIT_DIRS
	CLEAN_KANIKO_DIR COPY_AS_ROOT COPY_CHMOD_ON_IMPLICIT_DIRS CROSS_REPO_MOUNT DEPRECATE_INTER_STAGE_RESTORE DISABLE_HTTP2
	EXPAND_HEREDOC HASH_DIR_FRAMING IGNORE_CACHED_MANIFEST INFER_CROSS_STAGE_CACHE_KEY NATIVE_COPY NEW_CACHE_LAYOUT
	NO_PROPAGATE_ANNOTATIONS OCI_SCRATCH_BASE OCI_STAGES OCI_WARMER PATH_SCOPED_REGISTRY_AUTH PLATFORM_CACHE_KEY POOL_REGISTRY_CONNECTIONS
	PRECOMPILE_DOCKERIGNORE PRESERVE_HARDLINKS PRESERVE_MOUNTED_PATHS PRESERVE_MOUNTED_SYMLINKS RELATIVE_LINK_TARGETS
	REPRODUCIBLE_PRESERVE_BASE_LAYERS RESOLVE_CACHE_KEY ROLLING_CACHE_KEY RUN_HONOR_GROUP RUN_MOUNT_BIND RUN_MOUNT_CACHE
	RUN_MOUNT_SECRET RUN_VIA_TINI SCOPED_DOCKERIGNORE SECUREJOIN_EXTRACTION SHARED_BASE_CACHE SKIP_CACHED_STAGES
	SKIP_RELABEL_RECOMPRESS SKIP_WRITE_WHITEOUTS SQUASH_STAGES UNTAR_SKIP_ROOT VOLUME_SKIP_MKDIR WARMER_CACHE_LOCK`)

// kanikoVariables says which of kaniko's variables are set and mean nothing here.
func kanikoVariables(environment map[string]string) []remark {
	var without []string
	for _, v := range idleVariables {
		if environment[v.name] != "" {
			without = append(without, fmt.Sprintf("%s (%s)", v.name, v.why))
		}
	}
	var said []remark
	if len(without) > 0 {
		said = append(said, inform("kaniko's variables without a meaning here: %s", strings.Join(without, ", ")))
	}
	var unknown []string
	for name, value := range environment {
		if feature, ok := strings.CutPrefix(name, featurePrefix); ok && value != "" && !slices.Contains(features, feature) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		text := "kaniko has no feature flag " + name
		if near := config.Nearest(strings.TrimPrefix(name, featurePrefix), features); near != "" {
			text += ": did you mean " + featurePrefix + near + "?"
		}
		said = append(said, warn("%s", text))
	}
	return said
}
