package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write what is made from the code")

const (
	kanikoReadme = "../../examples/kaniko/README.md"
	madeBelow    = "<!-- made from the code -->\n"
)

// TestReadmeOfKaniko makes the tables of flags and variables anew.
func TestReadmeOfKaniko(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(kanikoReadme)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(text), madeBelow)
	if !ok {
		t.Fatalf("%s has no line %q", kanikoReadme, madeBelow)
	}
	want := head + madeBelow + kanikoTables(program{})
	if *update {
		if err := os.WriteFile(kanikoReadme, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("%s is out of date (-want +got); write it with -update:\n%s", kanikoReadme, diff)
	}
}

func kanikoTables(p program) string {
	var b strings.Builder
	for _, c := range []*cobra.Command{p.executorCommand(), p.executorPushCommand(), p.executorLoginCommand(), p.warmerCommand()} {
		name, _, _ := strings.Cut(c.Use, " [")
		if c.Name() != nameExecutor && c.Name() != nameWarmer {
			name = nameExecutor + " " + name
		}
		fmt.Fprintf(&b, "\n### %s\n\n| flag | default | variable | in Trowel |\n|---|---|---|---|\n", name)
		c.Flags().VisitAll(func(f *pflag.Flag) { b.WriteString(flagRow(f)) })
	}
	b.WriteString("\n### Variables without a meaning\n\n| variable | why |\n|---|---|\n")
	for _, v := range idleVariables {
		fmt.Fprintf(&b, "| `%s` | %s |\n", v.name, v.why)
	}
	fmt.Fprintf(&b, "| `%s…` | %d feature flags: Trowel is as if each were set; one that kaniko does not have is warned of |\n", featurePrefix, len(features))
	return b.String()
}

func flagRow(f *pflag.Flag) string {
	name := "`--" + f.Name + "`"
	if f.Shorthand != "" {
		name = "`-" + f.Shorthand + "`, " + name
	}
	variable, _ := marked(f, markEnv)
	if variable != "" {
		variable = "`" + variable + "`"
	}
	value := strings.Trim(f.DefValue, "[]")
	if value != "" {
		value = "`" + value + "`"
	}
	text := strings.ReplaceAll(strings.ReplaceAll(f.Usage, "`", ""), "|", `\|`)
	return fmt.Sprintf("| %s | %s | %s | %s |\n", name, value, variable, text)
}

// Each flag that kaniko has is there, by its name, its letter and its default: research by reading its source.
func TestFlagsOfKanikoAreComplete(t *testing.T) {
	t.Parallel()
	all := map[string][]string{
		nameExecutor: strings.Fields(`dockerfile:f=Dockerfile context:c=/workspace/ context-sub-path bucket:b destination:d no-push=false tar-path tarPath
			oci-layout-path build-arg target custom-platform customPlatform label annotation secret digest-file image-name-with-digest-file
			image-name-tag-with-digest-file image-format compression=gzip compression-level=-1 git force=false kaniko-dir=/kaniko cleanup=false
			pre-cleanup=false preserve-context=false materialize=false reproducible=false dryrun=false verbosity:v=info log-format=color
			log-timestamp=false cache=false cache-repo cache-dir=/cache cache-ttl=336h0m0s cache-copy-layers=false cache-run-layers=true
			no-push-cache=false compressed-caching=true snapshot-mode=full snapshotMode=full use-new-run=false single-snapshot=false ignore-path
			ignore-var-run=true whitelist-var-run=true push-retry=0 image-fs-extract-retry=0 image-download-retry=0 insecure=false
			insecure-pull=false insecure-registry skip-tls-verify=false skip-tls-verify-pull=false skip-tls-verify-registry registry-certificate
			registry-client-cert registry-map registry-mirror skip-default-registry-fallback=false credential-helpers
			skip-push-permission-check=false push-ignore-immutable-tag-errors=false force-build-metadata=false skip-unused-stages=true
			azure-container-registry-config`),
		nameWarmer: strings.Fields(`image:i cache-dir:c=/cache force:f=false cache-ttl=336h0m0s dockerfile:d build-arg customPlatform insecure-pull=false
			skip-tls-verify-pull=false insecure-registry skip-tls-verify-registry registry-certificate registry-client-cert registry-map
			registry-mirror skip-default-registry-fallback=false verbosity:v=info log-format=color log-timestamp=false`),
	}
	p := program{}
	for _, c := range []*cobra.Command{p.executorCommand(), p.warmerCommand()} {
		for _, entry := range all[c.Name()] {
			names, value, _ := strings.Cut(entry, "=")
			name, short, _ := strings.Cut(names, ":")
			f := c.Flags().Lookup(name)
			if f == nil {
				t.Errorf("%s has no --%s", c.Name(), name)
				continue
			}
			if got := strings.Trim(f.DefValue, "[]"); f.Shorthand != short || got != value {
				t.Errorf("%s --%s: letter %q, default %q; kaniko has %q and %q", c.Name(), name, f.Shorthand, got, short, value)
			}
		}
	}
}
