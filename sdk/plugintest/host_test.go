package plugintest_test

import (
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugintest"
)

func codeOf(err error) sdk.ErrorCode {
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		return e.Code
	}
	return ""
}

// TestHostSign compares with the examples that the services' own documentation gives.
func TestHostSign(t *testing.T) {
	t.Parallel()
	const s3Key, testKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	s3Day, testDay := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC), time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for name, tt := range map[string]struct {
		key     string
		at      time.Time
		request sdk.AWSRequest
		want    string
	}{
		"get object": {s3Key, s3Day, sdk.AWSRequest{
			HTTPMethod: "GET", URL: "https://examplebucket.s3.amazonaws.com/test.txt", Header: []sdk.Header{{Name: "Range", Value: "bytes=0-9"}},
			AccessKeyID: "{{secret:id}}", Region: "us-east-1", Service: "s3", PayloadHash: empty,
		}, "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		"list objects": {s3Key, s3Day, sdk.AWSRequest{
			HTTPMethod: "GET", URL: "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J",
			AccessKeyID: "AKIAIOSFODNN7EXAMPLE", Region: "us-east-1", Service: "s3", PayloadHash: empty,
		}, "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
		"presigned": {s3Key, s3Day, sdk.AWSRequest{
			HTTPMethod: "GET", URL: "https://examplebucket.s3.amazonaws.com/test.txt",
			AccessKeyID: "AKIAIOSFODNN7EXAMPLE", Region: "us-east-1", Service: "s3", PresignSeconds: 86400,
		}, "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"},
		"another service": {testKey, testDay, sdk.AWSRequest{
			HTTPMethod: "GET", URL: "https://example.amazonaws.com/",
			AccessKeyID: "AKIDEXAMPLE", Region: "us-east-1", Service: "service", PayloadHash: empty,
		}, "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	} {
		h := &plugintest.Host{Now: func() time.Time { return tt.at }, Secrets: map[string]plugintest.Secret{
			"key": {Value: tt.key, Use: "sign-aws4"}, "id": {Value: "AKIAIOSFODNN7EXAMPLE", Use: "sign-aws4"},
		}}
		got, err := sdk.Sign(h.Context(t.Context()), sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: &tt.request})
		signed := got.URL + " " + sdk.HeaderValue(got.Header, "authorization")
		if err != nil || !strings.HasSuffix(strings.TrimSpace(signed), tt.want) {
			t.Errorf("%s: %s, want %s, error %v", name, signed, tt.want, err)
		}
	}
	h := &plugintest.Host{Secrets: map[string]plugintest.Secret{"mac": {Value: "Jefe", Use: "hmac-sha256"}}}
	got, err := h.Sign(t.Context(), sdk.SignRequest{Method: sdk.SignHMAC, Secret: "mac", Data: []byte("what do ya want for nothing?")})
	if want := "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"; err != nil || hex.EncodeToString(got.Signature) != want {
		t.Errorf("HMAC: %x, want %s (RFC 4231, case 2), error %v", got.Signature, want, err)
	}
	for _, request := range []sdk.SignRequest{{Method: sdk.SignAWS4, Secret: "mac", AWS: &sdk.AWSRequest{}}, {Method: sdk.SignHMAC, Secret: "none"}} {
		if _, err := h.Sign(t.Context(), request); codeOf(err) != sdk.CodeDenied {
			t.Errorf("a secret that was not granted for %s: error %v", request.Method, err)
		}
	}
}

func TestHostHTTP(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "elsewhere") }))
	t.Cleanup(other.Close)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL, http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/echo", http.StatusFound)
		default:
			w.Header().Set("X-Method", r.Method)
			io.WriteString(w, r.Header.Get("X-Token")+" "+user+":"+password+" "+string(body)+" "+r.Header.Get("Authorization"))
		}
	}))
	t.Cleanup(server.Close)
	h := &plugintest.Host{Secrets: map[string]plugintest.Secret{
		"token": {Value: "t0k3n", Use: "header"}, "key": {Value: "k", Use: "sign-aws4"},
	}}
	for name, tt := range map[string]struct {
		request sdk.HTTPRequest
		body    string
		code    sdk.ErrorCode
	}{
		"secret in a header": {request: sdk.HTTPRequest{Method: "POST", URL: server.URL, Header: []sdk.Header{{Name: "X-Token", Value: "a{{secret:token}}b"}}, Body: []byte("hi")}, body: "at0k3nb : hi "},
		"secret in the URL":  {request: sdk.HTTPRequest{Method: "GET", URL: strings.Replace(server.URL, "://", "://me:%7B%7Bsecret:token%7D%7D@", 1)}, body: " me:t0k3n "},
		"another use":        {request: sdk.HTTPRequest{Method: "GET", URL: server.URL, Header: []sdk.Header{{Name: "X-Token", Value: "{{secret:key}}"}}}, code: sdk.CodeDenied},
		"signed": {request: sdk.HTTPRequest{Method: "GET", URL: server.URL, Sign: &sdk.SignRequest{
			Method: sdk.SignAWS4, Secret: "key", AWS: &sdk.AWSRequest{AccessKeyID: "ID", Region: "r", Service: "s3"},
		}}, body: " :  AWS4-HMAC-SHA256 Credential=ID/"},
		"no redirects":         {request: sdk.HTTPRequest{Method: "GET", URL: server.URL + "/here"}, code: sdk.CodeDenied},
		"to the same host":     {request: sdk.HTTPRequest{Method: "GET", URL: server.URL + "/here", Redirect: sdk.RedirectSameHost}, body: " : "},
		"not to another host":  {request: sdk.HTTPRequest{Method: "GET", URL: server.URL + "/away", Redirect: sdk.RedirectSameHost}, code: sdk.CodeDenied},
		"to a granted host":    {request: sdk.HTTPRequest{Method: "GET", URL: server.URL + "/away", Redirect: sdk.RedirectGranted}, body: "elsewhere"},
		"too large":            {request: sdk.HTTPRequest{Method: "GET", URL: server.URL, Body: []byte("0123456789"), MaxBytes: 9}, code: sdk.CodeLimit},
		"nobody there":         {request: sdk.HTTPRequest{Method: "GET", URL: "http://127.0.0.1:1"}, code: sdk.CodeUnavailable},
		"no URL":               {request: sdk.HTTPRequest{Method: "GET", URL: "x"}, code: sdk.CodeInvalid},
		"secret never granted": {request: sdk.HTTPRequest{Method: "GET", URL: server.URL, Header: []sdk.Header{{Name: "A", Value: "{{secret:none}}"}}}, code: sdk.CodeDenied},
	} {
		got, err := sdk.HTTP(h.Context(t.Context()), tt.request, sdk.HTTPRequest{Method: "GET", URL: other.URL})
		if err != nil || len(got) != 2 || string(got[1].Body) != "elsewhere" {
			t.Fatalf("%s: %+v, error %v", name, got, err)
		}
		code := sdk.ErrorCode("")
		if got[0].Error != nil {
			code = got[0].Error.Code
		}
		if code != tt.code || !strings.HasPrefix(string(got[0].Body), tt.body) {
			t.Errorf("%s: %q %v, want %q, code %q", name, got[0].Body, got[0].Error, tt.body, tt.code)
		}
	}
}

func TestHostFilesAndEnv(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	for name, text := range map[string]string{filepath.Join(dir, "a"): "content", outside: "outside"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": "a", "escape": outside} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	h := &plugintest.Host{Files: map[sdk.Root]string{sdk.RootContext: dir}, Env: map[string]string{"LANG": "C"}}
	ctx := h.Context(t.Context())
	for _, name := range []string{"a", "link", "/a", "../a"} {
		if got, err := sdk.ReadFile(ctx, sdk.RootContext, name); err != nil || string(got) != "content" {
			t.Errorf("ReadFile(%q) = %q, error %v", name, got, err)
		}
	}
	if _, err := sdk.ReadFile(ctx, sdk.RootContext, "none"); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("a missing file: error %v", err)
	}
	for _, name := range []string{"escape", "."} {
		if got, err := sdk.ReadFile(ctx, sdk.RootContext, name); err == nil {
			t.Errorf("ReadFile(%q) = %q", name, got)
		}
	}
	if _, err := sdk.ReadFile(ctx, sdk.RootStage, "a"); codeOf(err) != sdk.CodeDenied {
		t.Errorf("a root that was not granted: error %v", err)
	}
	if got, err := sdk.Stat(ctx, sdk.RootContext, "link"); err != nil || got != (sdk.FileInfo{Name: "link", Size: 7, Mode: 0o644}) {
		t.Errorf("Stat: %+v, error %v", got, err)
	}
	entries, err := sdk.ReadDir(ctx, sdk.RootContext, "")
	if err != nil || len(entries) != 3 || entries[0].Name != "a" || entries[1].Name != "escape" || entries[1].Mode.Type() != os.ModeSymlink {
		t.Errorf("ReadDir: %+v, error %v", entries, err)
	}
	if got, err := sdk.Env(ctx, "LANG"); err != nil || got != "C" {
		t.Errorf("Env: %q, error %v", got, err)
	}
	if _, err := sdk.Env(ctx, "HOME"); codeOf(err) != sdk.CodeDenied {
		t.Errorf("a variable that was not granted: error %v", err)
	}
	sdk.Log(ctx, sdk.LevelInfo, "hello")
	if got := h.Messages(); len(got) != 1 || got[0] != "info: hello" {
		t.Errorf("messages %q", got)
	}
}
