package manifest

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/plugin/service"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	got, err := Inspect(module())
	if err != nil {
		t.Fatal(err)
	}
	pages := uint64(256)
	want := Facts{
		Platform: Wasm, Size: int64(len(module())), ABI: []int{1},
		Imports: []Extern{
			{Module: "trowel_v1", Name: "input", Kind: "func", Type: "(i32, i64, f32)"},
			{Module: "wasi_snapshot_preview1", Name: "proc_exit", Kind: "func", Type: "()"},
		},
		Exports: []Extern{
			{Name: "memory", Kind: "memory"},
			{Name: "trowel_abi_1", Kind: "func", Type: "()"},
			{Name: "trowel_call", Kind: "func", Type: "(i32, i32) -> i32"},
			{Name: "g", Kind: "global"},
		},
		Memory: &Memory{Min: 2, Max: &pages}, Code: 9, Data: 8, Custom: []Section{{Name: "producers", Size: 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, i := range got.Imports {
		if !i.Known() {
			t.Errorf("%s is not known", i.Module)
		}
	}
	if (Extern{Module: "env"}).Known() {
		t.Error("env is known")
	}
}

func TestInspectNative(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Inspect(program)
	if err != nil || got.Platform != Platform("linux/"+runtime.GOARCH) || !got.Platform.Native() || got.Size != int64(len(program)) {
		t.Errorf("Inspect = %+v, %v", got, err)
	}
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Inspect(shell); err != nil || !strings.Contains(got.Interpreter, "ld") {
		t.Errorf("Inspect of /bin/sh = %+v, %v; want a dynamic linker", got, err)
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	context := []string{"context"}
	granted := service.Grants{
		Hosts: []string{"*.example.com:9000", "API.example.com:443"}, Env: []string{"AWS_REGION"}, Files: &context,
		Secrets: map[string]service.Secret{"s3": {Use: "sign-aws4"}, "token": {Use: "reply"}},
	}
	wants := Wants{
		Hosts: []string{"minio.example.com:9000", "api.example.com", "example.com:9000", "minio.example.com:9001"},
		Env:   []string{"AWS_REGION", "HOME"}, Files: []string{"context", "stage"},
		Secrets: []Secret{{Name: "s3", Use: "sign-aws4"}, {Name: "token", Use: "header", Summary: "an API token"}},
	}
	missing := wants.Missing(granted)
	want := Wants{
		Hosts: []string{"example.com:9000", "minio.example.com:9001"}, Env: []string{"HOME"}, Files: []string{"stage"},
		Secrets: []Secret{{Name: "token", Use: "header", Summary: "an API token"}},
	}
	if diff := cmp.Diff(want, missing); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	lines := []string{
		`[plugins.team-cache.allow]`,
		`hosts = ["*.example.com:9000", "API.example.com:443", "example.com:9000", "minio.example.com:9001"]`,
		`env = ["AWS_REGION", "HOME"]`,
		`files = ["context", "stage"]`,
		`secrets.token = { env = "TOKEN", use = "header" } # an API token`,
	}
	if diff := cmp.Diff(lines, missing.TOML("team-cache", granted)); diff != "" {
		t.Errorf("TOML (-want +got):\n%s", diff)
	}
	if got := (Wants{Env: []string{"A"}}).TOML("a b", service.Grants{}); got[0] != `[plugins."a b".allow]` {
		t.Errorf("a name with a space is written %s", got[0])
	}
	if all := (service.Grants{}); len(wants.Missing(all).Files) != 0 {
		t.Error("files are missing where all are granted by default")
	}
	if !wants.Missing(service.Grants{Hosts: wants.Hosts, Env: wants.Env, Secrets: map[string]service.Secret{"s3": {Use: "sign-aws4"}, "token": {Use: "header"}}}).Empty() {
		t.Error("something is missing where all is granted")
	}
	more := wants.Beyond(Wants{Hosts: wants.Hosts, Env: []string{"HOME"}, Secrets: wants.Secrets[:1], Files: wants.Files})
	if diff := cmp.Diff([]string{`environment variable "AWS_REGION"`, `secret "token" for header: an API token`}, more.Describe()); diff != "" {
		t.Errorf("Beyond (-want +got):\n%s", diff)
	}
}
