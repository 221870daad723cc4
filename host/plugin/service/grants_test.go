package service_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

func TestGrantsValidate(t *testing.T) {
	t.Parallel()
	some, none := []string{"context"}, []string{}
	one := func(s service.Secret) service.Grants {
		return service.Grants{Secrets: map[string]service.Secret{"key": s}}
	}
	for name, row := range map[string]struct {
		kind   sdk.Kind
		grants service.Grants
		want   string
	}{
		"nothing": {sdk.KindCache, service.Grants{}, ""},
		"much": {sdk.KindCredential, service.Grants{
			Hosts: []string{"a.example.com", "10.0.0.0/8"}, Env: []string{"A"}, Files: &none,
			Secrets: map[string]service.Secret{"key": fromEnv("B", "reply", "*.example.com:5000")},
		}, ""},
		"files":            {sdk.KindInstruction, service.Grants{Files: &some}, ""},
		"host":             {sdk.KindCache, service.Grants{Hosts: []string{"a/b"}}, `allow.hosts: "a/b"`},
		"env":              {sdk.KindCache, service.Grants{Env: []string{"A-B"}}, `"A-B" is no name`},
		"files of a cache": {sdk.KindCache, service.Grants{Files: &some}, `"instruction"`},
		"unknown files":    {sdk.KindInstruction, service.Grants{Files: &[]string{"home"}}, `"home" is not one of context, stage`},
		"secret name":      {sdk.KindCache, service.Grants{Secrets: map[string]service.Secret{"a b": fromEnv("A", "header")}}, "allow.secrets.a b: the name"},
		"no source":        {sdk.KindCache, one(service.Secret{Use: "header"}), "neither env nor file"},
		"two sources":      {sdk.KindCache, one(service.Secret{SecretSource: service.SecretSource{Env: "A", File: "f"}, Use: "header"}), "both set"},
		"source":           {sdk.KindCache, one(fromEnv("A=B", "header")), `env is "A=B"`},
		"use":              {sdk.KindCache, one(fromEnv("A", "read")), `use is "read", and must be one of sign-aws4, hmac-sha256, header, reply`},
		"reply":            {sdk.KindCache, one(fromEnv("A", "reply")), `"credential"`},
		"secret host":      {sdk.KindCache, one(fromEnv("A", "header", "*")), "hosts: "},
		"range":            {sdk.KindCache, one(fromEnv("A", "header", "10.0.0.0/8")), "names no host"},
		"hmac hosts":       {sdk.KindCache, one(fromEnv("A", "hmac-sha256", "a.example.com")), "goes to no host"},
		"env and secret": {sdk.KindCache, service.Grants{
			Env: []string{"A"}, Secrets: map[string]service.Secret{"key": fromEnv("A", "header")},
		}, "would show the secret"},
	} {
		err := row.grants.Validate(row.kind)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: error %v, want %q", name, err, row.want)
		}
		if _, err := service.New(service.Options{Plugin: "p", Kind: row.kind, Grants: row.grants}); (err == nil) != (row.want == "") {
			t.Errorf("%s: New: %v", name, err)
		}
	}
	err := service.Grants{Hosts: []string{"*"}, Env: []string{""}}.Validate(sdk.KindCache)
	if err == nil || !strings.Contains(err.Error(), "allow.hosts") || !strings.Contains(err.Error(), "allow.env") {
		t.Errorf("not all problems are told: %v", err)
	}
}

func TestGrantsDigest(t *testing.T) {
	t.Parallel()
	both := []string{"stage", "context", "stage"}
	a := service.Grants{
		Hosts: []string{"b.example.com", "https://A.example.com:443"}, Env: []string{"Y", "X", "X"}, Files: &both,
		Secrets: map[string]service.Secret{"k2": fromEnv("K", "header", "b.example.com", "A.example.com"), "k1": fromEnv("K", "reply")},
	}
	same := service.Grants{
		Hosts: []string{"a.example.com", "b.example.com", "a.example.com."}, Env: []string{"X", "Y"},
		Secrets: map[string]service.Secret{"k1": fromEnv("K", "reply"), "k2": fromEnv("K", "header", "a.example.com", "b.example.com")},
	}
	want := `host "a.example.com"
host "b.example.com"
env "X"
env "Y"
secret "k1" use "reply" env "K"
secret "k2" use "header" env "K" host "a.example.com" host "b.example.com"
files "context"
files "stage"
`
	if diff := cmp.Diff(want, a.Describe()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a.Digest() != same.Digest() {
		t.Errorf("equal grants have other digests:\n%s%s", a.Describe(), same.Describe())
	}
	seen := map[string]string{a.Digest(): "a"}
	for name, change := range map[string]func(*service.Grants){
		"host":   func(g *service.Grants) { g.Hosts = append(g.Hosts, "c.example.com") },
		"plain":  func(g *service.Grants) { g.Hosts = []string{"http://a.example.com:443", "b.example.com"} },
		"env":    func(g *service.Grants) { g.Env = nil },
		"files":  func(g *service.Grants) { g.Files = &[]string{} },
		"use":    func(g *service.Grants) { g.Secrets = map[string]service.Secret{"k1": fromEnv("K", "header")} },
		"source": func(g *service.Grants) { g.Secrets = map[string]service.Secret{"k1": fromEnv("L", "header")} },
		"quotes": func(g *service.Grants) { g.Env = []string{"X\"\nenv \"Y"} },
	} {
		changed := same
		change(&changed)
		if before, ok := seen[changed.Digest()]; ok {
			t.Errorf("%s has the digest of %s", name, before)
		}
		seen[changed.Digest()] = name
	}
}

func TestEnv(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.variables["REGION"], l.variables["PASSWORD"] = "eu", "hidden"
	s := l.services(service.Grants{Env: []string{"REGION", "UNSET"}})
	got, err := s.SDK().Env.Env(t.Context(), []string{"UNSET", "REGION"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]sdk.Variable{{Name: "REGION", Value: "eu"}}, got); diff != "" {
		t.Error(diff)
	}
	_, err = s.SDK().Env.Env(t.Context(), []string{"REGION", "PASSWORD"})
	wantError(t, err, sdk.CodeDenied, `"PASSWORD"`, "plugins.p.allow.env")
}

// tree is a file system of one file.
type tree struct{}

func (tree) ReadFile(_ context.Context, root sdk.Root, name string) ([]byte, error) {
	if name != "a" {
		return nil, &sdk.Error{Code: sdk.CodeNotFound, Message: "no file \x1b[2J" + name}
	}
	return []byte(root), nil
}

func (tree) Stat(context.Context, sdk.Root, string) (sdk.FileInfo, error) {
	return sdk.FileInfo{Name: "a", Mode: fs.ModeDir}, nil
}

func (tree) ReadDir(context.Context, sdk.Root, string) ([]sdk.FileInfo, error) {
	return []sdk.FileInfo{{Name: "a"}}, nil
}

func TestFiles(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	only := []string{"context"}
	s := l.services(service.Grants{Files: &only}, func(o *service.Options) { o.Kind = sdk.KindInstruction })
	ctx := service.WithFiles(t.Context(), tree{})
	files := s.SDK().Files
	got, err := files.ReadFile(ctx, sdk.RootContext, "a")
	if err != nil || string(got) != "context" {
		t.Errorf("read %q, %v", got, err)
	}
	info, err := files.Stat(ctx, sdk.RootContext, "a")
	if err != nil || !info.Mode.IsDir() {
		t.Errorf("stat %v, %v", info, err)
	}
	entries, err := files.ReadDir(ctx, sdk.RootContext, "a")
	if err != nil || len(entries) != 1 {
		t.Errorf("list %v, %v", entries, err)
	}
	_, err = files.ReadFile(ctx, sdk.RootContext, "b")
	wantError(t, err, sdk.CodeNotFound, "no file \uFFFD[2Jb")
	if !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("%v is not ErrNotFound", err)
	}
	_, err = files.ReadFile(ctx, sdk.RootStage, "a")
	wantError(t, err, sdk.CodeDenied, `add "stage" to plugins.p.allow.files`)
	_, err = files.Stat(ctx, sdk.RootStage, "a")
	wantError(t, err, sdk.CodeDenied)
	_, err = files.ReadDir(ctx, sdk.RootStage, "a")
	wantError(t, err, sdk.CodeDenied)
	_, err = files.ReadFile(ctx, "home", "a")
	wantError(t, err, sdk.CodeInvalid, "home")
	_, err = files.ReadFile(t.Context(), sdk.RootContext, "a")
	wantError(t, err, sdk.CodeUnsupported)
	_, err = l.services(service.Grants{}).SDK().Files.ReadFile(ctx, sdk.RootContext, "a")
	wantError(t, err, sdk.CodeUnsupported, `"cache"`)
}

// TestDo sees the services through the ABI, as a plugin does.
func TestDo(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.variables["REGION"] = "eu"
	port := l.servePlain(say("ok"))
	grants := service.Grants{Env: []string{"REGION"}, Hosts: []string{"http://localhost:" + port}}
	s := l.services(grants)
	message, err := abi.Result(s.Do(t.Context(), abi.HostEnv, abi.AppendEnvRequest(nil, &abi.EnvRequest{Names: []string{"REGION"}})))
	if err != nil {
		t.Fatal(err)
	}
	var env abi.EnvResponse
	if err := abi.DecodeEnvResponse(message, &env); err != nil || len(env.Variables) != 1 || env.Variables[0].Value != "eu" {
		t.Errorf("answer %+v, %v", env, err)
	}
	request := abi.AppendHTTPRequests(nil, &abi.HTTPRequests{Requests: []sdk.HTTPRequest{
		{Method: "GET", URL: "http://localhost:" + port}, {Method: "GET", URL: "https://evil.org"},
	}})
	if message, err = abi.Result(s.Do(t.Context(), abi.HostHTTP, request)); err != nil {
		t.Fatal(err)
	}
	var answers abi.HTTPResponses
	if err := abi.DecodeHTTPResponses(message, &answers); err != nil || len(answers.Responses) != 2 {
		t.Fatalf("answer %+v, %v", answers, err)
	}
	wantBody(t, answers.Responses[0], "ok")
	wantFailure(t, answers.Responses[1], sdk.CodeDenied, `add "evil.org" to plugins.p.allow.hosts`)
	for _, op := range []abi.HostOp{0, 99} {
		_, err = abi.Result(s.Do(t.Context(), op, nil))
		wantError(t, err, sdk.CodeUnsupported)
	}
	_, err = abi.Result(s.Do(t.Context(), abi.HostHTTP, []byte("{")))
	wantError(t, err, sdk.CodeInvalid)

	pure := l.services(grants, func(o *service.Options) { o.Kind, o.Purity = sdk.KindInstruction, transport.Deterministic })
	for op, request := range map[abi.HostOp][]byte{
		abi.HostHTTP: request, abi.HostEnv: abi.AppendEnvRequest(nil, &abi.EnvRequest{}), abi.HostSign: abi.AppendSignRequest(nil, &sdk.SignRequest{}),
	} {
		_, err = abi.Result(pure.Do(t.Context(), op, request))
		wantError(t, err, sdk.CodeDenied, "plugins.p.pure = false")
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	granted := []string{"A.example.com:443", "*.example.com:9000", "*.s3.example.com", "10.0.0.0/8"}
	for wanted, want := range map[string]bool{
		"a.example.com": true, "b.example.com": false, "b.example.com:9000": true, "x.s3.example.com": true,
		"*.s3.example.com": true, "*.example.com": false, "10.1.0.0/16": true, "11.0.0.0/8": false, "": false,
	} {
		if got := service.Covers(granted, wanted); got != want {
			t.Errorf("%q: %v", wanted, got)
		}
	}
}
