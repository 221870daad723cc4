package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/trowel-build/trowel/host/config"
)

// executorOf parses a command line of the executor.
func executorOf(t *testing.T, line string) *executorFlags {
	t.Helper()
	o := &executorFlags{}
	flags := pflag.NewFlagSet("executor", pflag.ContinueOnError)
	o.register(flags)
	if err := flags.Parse(strings.Fields(line)); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return o
}

// Each flag of kaniko's that one of build's stands for.
func TestExecutorFlags(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"SET": "value"}
	standard := func(change func(*buildFlags)) *buildFlags {
		f := &buildFlags{
			file: "Dockerfile", network: "default", push: true, noCache: true, compression: "gzip", progress: "auto", tags: []string{"r.example.com/app"},
		}
		change(f)
		return f
	}
	absolute := func(path string) string {
		p, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for line, want := range map[string]*buildFlags{
		"":                                 standard(func(*buildFlags) {}),
		"-d other:1 --destination third":   standard(func(f *buildFlags) { f.tags = append(f.tags, "other:1", "third") }),
		"--cache":                          standard(func(f *buildFlags) { f.noCache = false }),
		"--cache=true":                     standard(func(f *buildFlags) { f.noCache = false }),
		"--cache --cache-run-layers=false": standard(func(*buildFlags) {}),
		"--no-push":                        standard(func(f *buildFlags) { f.push = false }),
		"--build-arg A=1 --build-arg SET --build-arg UNSET --build-arg=B=x=y": standard(func(f *buildFlags) { f.buildArgs = []string{"A=1", "SET=value", "UNSET=", "B=x=y"} }),
		"--target one,two --target three":                                     standard(func(f *buildFlags) { f.target = "one" }),
		"--custom-platform=linux/arm64":                                       standard(func(f *buildFlags) { f.platforms = []string{"linux/arm64"} }),
		"--custom-platform=linux/arm64/":                                      standard(func(f *buildFlags) { f.platforms = []string{"linux/arm64"} }),
		"--custom-platform=linux/arm/v7":                                      standard(func(f *buildFlags) { f.platforms = []string{"linux/arm/v7"} }),
		"--customPlatform linux/arm64":                                        standard(func(f *buildFlags) { f.platforms = []string{"linux/arm64"} }),
		"--tar-path x.tar":                                                    standard(func(f *buildFlags) { f.outputs = []string{"type=docker,dest=" + absolute("x.tar")} }),
		"--tarPath=a,b":                                                       standard(func(f *buildFlags) { f.outputs = []string{`type=docker,"dest=` + absolute("a,b") + `"`} }),
		"--oci-layout-path /out":                                              standard(func(f *buildFlags) { f.outputs = []string{"type=oci,tar=false,dest=/out"} }),
		"--image-format docker":                                               standard(func(f *buildFlags) { f.outputs = []string{"type=image,oci-mediatypes=false,compression=gzip"} }),
		"--image-format=oci":                                                  standard(func(*buildFlags) {}),
		"--compression zstd --compression-level 7":                            standard(func(f *buildFlags) { f.compression, f.compressionLevel = "zstd", 7 }),
		"--compression-level=-1":                                              standard(func(*buildFlags) {}),
		"--reproducible":                                                      standard(func(f *buildFlags) { f.rewriteTimestamp = true }),
		"--label a=b,c --label d":                                             standard(func(f *buildFlags) { f.labels = []string{"a=b,c", "d"} }),
		"--annotation a=b":                                                    standard(func(f *buildFlags) { f.annotations = []string{"a=b"} }),
		"--secret id=a,env=SET":                                               standard(func(f *buildFlags) { f.secrets = []string{"id=a,env=SET"} }),
		"-v error":                                                            standard(func(f *buildFlags) { f.progress = "quiet" }),
		"-v=debug --log-format text":                                          standard(func(f *buildFlags) { f.progress = "plain" }),
		"--log-format=json":                                                   standard(func(f *buildFlags) { f.progress = "rawjson" }),
		"--force":                                                             standard(func(f *buildFlags) { f.overwriteRoot = true }),
		"--kaniko-dir /k":                                                     standard(func(f *buildFlags) { f.workDir = "/k/trowel/work" }),
		"--snapshotMode=time --use-new-run --cleanup --compressed-caching=false --whitelist-var-run=false --force-build-metadata": standard(func(*buildFlags) {}),
	} {
		o := executorOf(t, "-d r.example.com/app "+line)
		got, err := o.buildFlags("Dockerfile", environment)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(buildFlags{}, callFlag{})); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", line, err, diff)
		}
	}
}

// What kaniko refuses, and what would not be done, is refused.
func TestExecutorMistakes(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"": "there is no --destination to push to",
		"--no-push --digest-file x --image-name-with-digest-file y": "need a --destination",
		"--no-push --materialize":                                   "--materialize is not supported",
		"--no-push --image-format v2":                               `--image-format "v2": want oci or docker`,
		"--no-push --compression lz4":                               `--compression "lz4": want gzip or zstd`,
		"--no-push --annotation x":                                  `--annotation "x": want KEY=VALUE`,
		"--no-push --dockerfile=":                                   "--dockerfile is empty",
		"--no-push --image-format docker --compression=zstd":        "--compression zstd is for --image-format oci",
	} {
		err := executorOf(t, line).check()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", line, err, want)
		}
	}
	for line, want := range map[string]string{
		"--cache=maybe": "invalid", "--snapshot-mode fast": "want full, redo, time", "--cleanup=perhaps": "want true or false",
		"--git x": "want key=value", "--git depth=x": "depth", "--cache-ttl 5": "missing unit", "--push-retry=x": "invalid",
	} {
		o := &executorFlags{}
		flags := pflag.NewFlagSet("executor", pflag.ContinueOnError)
		o.register(flags)
		if err := flags.Parse(strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", line, err, want)
		}
	}
}

func TestExecutorRegistries(t *testing.T) {
	t.Parallel()
	type settings = map[string]config.Registry
	for _, tt := range []struct {
		line   string
		pushed []string
		want   settings
		others config.TLSMode
	}{
		{"", nil, settings{}, ""},
		{"", []string{"r.example.com/a:1"}, settings{"r.example.com": {}}, ""},
		{"--insecure", []string{"r.example.com/a:1"}, settings{"r.example.com": {TLS: "insecure"}}, ""},
		{"--skip-tls-verify", []string{"r.example.com/a:1", "app"}, settings{"r.example.com": {TLS: "skip"}, "docker.io": {TLS: "skip"}}, "skip"},
		{"--insecure --skip-tls-verify", []string{"r.example.com/a:1"}, settings{"r.example.com": {TLS: "insecure"}}, "skip"},
		{"--skip-tls-verify --registry-certificate a=/ca.pem --registry-mirror m", nil, settings{"a": {CA: "/ca.pem"}, "docker.io": {Mirrors: []string{"m"}, TLS: "skip"}}, "skip"},
		{"--skip-tls-verify-pull", []string{"10.1.2.3:5000/a:1", "r.example.com/a:1"}, settings{"10.1.2.3:5000": {TLS: "insecure"}, "r.example.com": {TLS: "verify"}}, "skip"},
		{"--insecure-pull", []string{"r.example.com/a:1", "localhost:5000/x"}, settings{"r.example.com": {TLS: "verify"}, "localhost:5000": {TLS: "insecure"}}, "insecure"},
		{"--skip-tls-verify-pull", nil, settings{}, "skip"},
		{"--skip-tls-verify-registry localhost:5000 --skip-tls-verify", []string{"127.0.0.1:5000/x", "r.example.com/x"}, settings{"localhost:5000": {TLS: "insecure"}, "127.0.0.1:5000": {TLS: "insecure"}, "r.example.com": {TLS: "skip"}}, "skip"},
		{"--registry-mirror= --registry-mirror m --registry-map=", nil, settings{"docker.io": {Mirrors: []string{"m"}}}, ""},
		{"--insecure-registry http://a:5000/v2/ --registry-certificate https://b=/ca.pem", nil, settings{"a:5000": {TLS: "insecure"}, "b": {CA: "/ca.pem"}}, ""},
		{"--insecure-registry a:5000 --skip-tls-verify-registry b", nil, settings{"a:5000": {TLS: "insecure"}, "b": {TLS: "skip"}}, ""},
		{"--registry-certificate a=/ca.pem --registry-client-cert a=/c.pem,/k.pem", nil, settings{"a": {CA: "/ca.pem", ClientCert: "/c.pem", ClientKey: "/k.pem"}}, ""},
		{"--registry-mirror m1 --registry-mirror=m2/hub", nil, settings{"docker.io": {Mirrors: []string{"m1", "m2/hub"}}}, ""},
		{"--registry-map index.docker.io=m1;gcr.io=m2/g;gcr.io=m3 --skip-default-registry-fallback", nil, settings{
			"docker.io": {Mirrors: []string{"m1"}, MirrorsOnly: true}, "gcr.io": {Mirrors: []string{"m2/g", "m3"}, MirrorsOnly: true},
		}, ""},
	} {
		o := executorOf(t, tt.line)
		got, others, err := o.apply(nil, tt.pushed)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" || others.TLS != tt.others {
			t.Errorf("%s: %v, others %q (-want +got):\n%s", tt.line, err, others.TLS, diff)
		}
	}
	for line, want := range map[string]string{
		"--registry-map a": "want HOST=HOST[/PATH]", "--registry-map a/b=c": "leave the path", "--registry-certificate x": "want HOST=FILE",
		"--registry-client-cert a=b": "want HOST=CERTIFICATE,KEY",
	} {
		if _, _, err := executorOf(t, line).apply(nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", line, err, want)
		}
	}
	before := settings{"docker.io": {Mirrors: []string{"own", "m"}, TLS: "verify"}}
	got, _, err := executorOf(t, "--registry-mirror m").apply(before, nil)
	if diff := cmp.Diff(settings{"docker.io": {Mirrors: []string{"m", "own"}, TLS: "verify"}}, got); err != nil || diff != "" {
		t.Errorf("over trowel.toml: %v (-want +got):\n%s", err, diff)
	}
}

func TestExecutorEnvironment(t *testing.T) {
	t.Parallel()
	o := executorOf(t, "--registry-mirror first --cleanup")
	said, err := o.readEnvironment(map[string]string{
		"KANIKO_NO_PUSH": "true", "KANIKO_DIR": "/k", "KANIKO_REGISTRY_MIRROR": "second", "KANIKO_REGISTRY_MAP": "a=b",
		"KANIKO_CLEANUP": "1", "FF_KANIKO_RUN_VIA_TINI": "true", "FF_KANIKO_NO_SUCH_THING": "true",
	})
	if err != nil {
		t.Fatal(err)
	}
	if !o.noPush || o.kanikoDir != "/k" || !cmp.Equal(o.mirrors, []string{"first", "second"}) || !cmp.Equal(o.maps, []string{"a=b"}) {
		t.Errorf("no-push %t, directory %q, mirrors %q, maps %q", o.noPush, o.kanikoDir, o.mirrors, o.maps)
	}
	want := []string{"--cleanup (a build leaves", "KANIKO_CLEANUP (a build leaves", "no feature flag FF_KANIKO_NO_SUCH_THING"}
	if len(said) != len(want) {
		t.Fatalf("said %q", said)
	}
	for i, part := range want {
		if !strings.Contains(said[i].text, part) {
			t.Errorf("remark %d is %q, want %q", i, said[i].text, part)
		}
	}
	if o = executorOf(t, "--kaniko-dir=/flag"); true {
		if _, err := o.readEnvironment(map[string]string{"KANIKO_DIR": "/k"}); err != nil || o.kanikoDir != "/flag" {
			t.Errorf("directory %q, %v: the flag counts more", o.kanikoDir, err)
		}
	}
	if _, err := o.readEnvironment(map[string]string{"KANIKO_NO_PUSH": "perhaps"}); err == nil {
		t.Error("KANIKO_NO_PUSH=perhaps is taken")
	}
}

func TestAsKaniko(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		program string
		args    []string
		want    []string
	}{
		{"/usr/bin/trowel", []string{"build"}, []string{"build"}},
		{"/kaniko/executor", []string{"--no-push"}, []string{"executor", "--no-push"}},
		{"executor", nil, []string{"executor"}},
		{"/kaniko/executor", []string{"executor", "--no-push"}, []string{"executor", "--no-push"}},
		{"/kaniko/warmer", []string{"-i", "x"}, []string{"warmer", "-i", "x"}},
	} {
		if diff := cmp.Diff(tt.want, asKaniko(tt.program, tt.args)); diff != "" {
			t.Errorf("%s %q (-want +got):\n%s", tt.program, tt.args, diff)
		}
	}
}

func TestCredentialHelpers(t *testing.T) {
	t.Parallel()
	p := program{getenv: os.Getenv}
	for line, want := range map[string]int{"": 7, "--credential-helpers=": 2, "--credential-helpers env --credential-helpers=gitlab": 4} {
		got, err := p.kanikoCredentials("/kaniko", &executorOf(t, line).registryFlags)
		if err != nil || len(got) != want {
			t.Errorf("%q: %d providers, %v", line, len(got), err)
		}
	}
	if _, err := p.kanikoCredentials("/kaniko", &executorOf(t, "--credential-helpers googel").registryFlags); err == nil {
		t.Error("an unknown helper is taken")
	}
}
