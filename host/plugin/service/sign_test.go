package service_test

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

func fromEnv(name, use string, hosts ...string) service.Secret {
	return service.Secret{SecretSource: service.SecretSource{Env: name}, Use: use, Hosts: hosts}
}

func at(stamp string) func(*service.Options) {
	return func(o *service.Options) {
		o.Now = func() time.Time {
			t, err := time.Parse("20060102T150405Z", stamp)
			if err != nil {
				panic(err)
			}
			return t
		}
	}
}

func headers(pairs ...string) []sdk.Header {
	var h []sdk.Header
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, sdk.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return h
}

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// TestSignAWS4Suite has requests and signatures of the test suite that AWS publishes for Signature Version 4.
func TestSignAWS4Suite(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.variables["KEY"] = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	s := l.services(service.Grants{
		Hosts: []string{"example.amazonaws.com"}, Secrets: map[string]service.Secret{"key": fromEnv("KEY", "sign-aws4")},
	}, at("20150830T123600Z"))
	for _, row := range []struct {
		name, method, path, hash string
		header                   []sdk.Header
		signed, signature        string
	}{
		{"get-vanilla", "GET", "/", emptyHash, nil, "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-relative", "GET", "/example/..", emptyHash, nil, "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-slashes", "GET", "//", emptyHash, nil, "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"post-vanilla", "POST", "/", emptyHash, nil, "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{
			"get-vanilla-query-order-key-case", "GET", "/?Param2=value2&Param1=value1", emptyHash, nil, "host;x-amz-date",
			"b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
		},
		{
			"get-vanilla-query-unreserved", "GET",
			"/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
			emptyHash, nil, "host;x-amz-date", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
		},
		{
			"get-vanilla-utf8-query", "GET", "/?\u1234=bar", emptyHash, nil, "host;x-amz-date",
			"2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
		},
		{
			"get-unreserved", "GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", emptyHash, nil, "host;x-amz-date",
			"07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
		},
		{
			"get-header-value-trim", "GET", "/", emptyHash, headers("My-Header1", " value1", "My-Header2", ` "a   b   c"`),
			"host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
		},
		{
			"post-x-www-form-urlencoded", "POST", "/", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
			headers("Content-Type", "application/x-www-form-urlencoded"), "content-type;host;x-amz-date",
			"ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
		},
	} {
		got, err := s.SDK().Sign.Sign(t.Context(), sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: &sdk.AWSRequest{
			HTTPMethod: row.method, URL: "https://example.amazonaws.com" + row.path, Header: row.header, AccessKeyID: "AKIDEXAMPLE",
			Region: "us-east-1", Service: "service", PayloadHash: row.hash,
		}})
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=" + row.signed +
			", Signature=" + row.signature
		if diff := cmp.Diff(want, sdk.HeaderValue(got.Header, "Authorization")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.name, diff)
		}
		if date := sdk.HeaderValue(got.Header, "X-Amz-Date"); date != "20150830T123600Z" {
			t.Errorf("%s: date %s", row.name, date)
		}
	}
}

// TestSignS3 has the examples of the S3 manual, "Authenticating Requests (AWS Signature Version 4)".
func TestSignS3(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.variables["KEY"] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	s := l.services(service.Grants{
		Hosts: []string{"examplebucket.s3.amazonaws.com"}, Secrets: map[string]service.Secret{"key": fromEnv("KEY", "sign-aws4")},
	}, at("20130524T000000Z"))
	sign := func(a sdk.AWSRequest) sdk.SignResponse {
		t.Helper()
		a.URL = "https://examplebucket.s3.amazonaws.com" + a.URL
		a.AccessKeyID, a.Region, a.Service = "AKIAIOSFODNN7EXAMPLE", "us-east-1", "s3"
		got, err := s.SDK().Sign.Sign(t.Context(), sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: &a})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, row := range []struct {
		request   sdk.AWSRequest
		signature string
	}{
		{
			sdk.AWSRequest{URL: "/test.txt", Header: headers("Range", "bytes=0-9"), PayloadHash: emptyHash},
			"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
		},
		{
			sdk.AWSRequest{
				HTTPMethod: "PUT", URL: "/test$file.text",
				Header:      headers("Date", "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class", "REDUCED_REDUNDANCY"),
				PayloadHash: "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			}, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
		},
		{sdk.AWSRequest{URL: "/?lifecycle", PayloadHash: emptyHash}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{sdk.AWSRequest{URL: "/?max-keys=2&prefix=J", PayloadHash: emptyHash}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	} {
		_, got, _ := strings.Cut(sdk.HeaderValue(sign(row.request).Header, "Authorization"), "Signature=")
		if got != row.signature {
			t.Errorf("%s: signature %s, want %s", row.request.URL, got, row.signature)
		}
	}
	want := "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" +
		"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z" +
		"&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
		"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
	if diff := cmp.Diff(want, sign(sdk.AWSRequest{URL: "/test.txt", PresignSeconds: 86400}).URL); diff != "" {
		t.Errorf("presigned (-want +got):\n%s", diff)
	}
}

func TestSignHMAC(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.variables["KEY"] = "Jefe" // RFC 4231, test case 2
	s := l.services(service.Grants{Secrets: map[string]service.Secret{"key": fromEnv("KEY", "hmac-sha256")}})
	got, err := s.SDK().Sign.Sign(t.Context(), sdk.SignRequest{Method: sdk.SignHMAC, Secret: "key", Data: []byte("what do ya want for nothing?")})
	if err != nil {
		t.Fatal(err)
	}
	if want := "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"; hex.EncodeToString(got.Signature) != want {
		t.Errorf("signature %x, want %s", got.Signature, want)
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.variables["KEY"], l.variables["ID"] = "the-secret-key", "the-key-id"
	s := l.services(service.Grants{
		Hosts: []string{"a.example.com", "b.example.com"},
		Secrets: map[string]service.Secret{
			"key": fromEnv("KEY", "sign-aws4", "a.example.com"), "mac": fromEnv("KEY", "hmac-sha256"), "header": fromEnv("KEY", "header"),
			"id": fromEnv("ID", "sign-aws4"), "unset": fromEnv("UNSET", "sign-aws4"),
		},
	})
	ok := sdk.AWSRequest{URL: "https://a.example.com/", AccessKeyID: "AK", Region: "r", Service: "s3"}
	with := func(change func(*sdk.AWSRequest)) *sdk.AWSRequest {
		a := ok
		change(&a)
		return &a
	}
	for name, row := range map[string]struct {
		request sdk.SignRequest
		code    sdk.ErrorCode
		want    string
	}{
		"method":      {sdk.SignRequest{Method: "rsa", Secret: "key"}, sdk.CodeUnsupported, "rsa"},
		"no aws":      {sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key"}, sdk.CodeInvalid, "aws"},
		"no secret":   {sdk.SignRequest{Method: sdk.SignAWS4, Secret: "nope", AWS: &ok}, sdk.CodeDenied, "plugins.p.allow.secrets.nope"},
		"wrong use":   {sdk.SignRequest{Method: sdk.SignAWS4, Secret: "mac", AWS: &ok}, sdk.CodeDenied, `for the use "hmac-sha256", not "sign-aws4"`},
		"wrong use 2": {sdk.SignRequest{Method: sdk.SignHMAC, Secret: "key", Data: []byte("AWS4")}, sdk.CodeDenied, "not"},
		"unset":       {sdk.SignRequest{Method: sdk.SignAWS4, Secret: "unset", AWS: &ok}, sdk.CodeUnavailable, "UNSET is not set"},
		"host of the secret": {
			sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: with(func(a *sdk.AWSRequest) { a.URL = "https://b.example.com/" })},
			sdk.CodeDenied, `add "b.example.com" to plugins.p.allow.secrets.key.hosts`,
		},
		"host": {
			sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: with(func(a *sdk.AWSRequest) { a.URL = "https://c.example.com/" })},
			sdk.CodeDenied, `add "c.example.com" to plugins.p.allow.hosts`,
		},
		"key as the ID": {
			sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: with(func(a *sdk.AWSRequest) { a.AccessKeyID = "{{secret:key}}" })},
			sdk.CodeDenied, "signs",
		},
		"token of another use": {
			sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: with(func(a *sdk.AWSRequest) { a.SessionToken = "{{secret:header}}" })},
			sdk.CodeDenied, `for the use "header"`,
		},
		"part of the ID": {
			sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: with(func(a *sdk.AWSRequest) { a.AccessKeyID = "x{{secret:id}}" })},
			sdk.CodeInvalid, "one reference",
		},
		"no ID":    {sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: with(func(a *sdk.AWSRequest) { a.AccessKeyID = "" })}, sdk.CodeInvalid, "accessKeyId"},
		"region":   {sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: with(func(a *sdk.AWSRequest) { a.Region = "a/b" })}, sdk.CodeInvalid, "region"},
		"lifetime": {sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: with(func(a *sdk.AWSRequest) { a.PresignSeconds = 604801 })}, sdk.CodeInvalid, "presign"},
		"reference in a header": {
			sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: with(func(a *sdk.AWSRequest) { a.Header = headers("X", "{{secret:header}}") })},
			sdk.CodeInvalid, "refers to a secret",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.SDK().Sign.Sign(t.Context(), row.request)
			wantError(t, err, row.code, row.want)
			if strings.Contains(err.Error(), "the-secret-key") {
				t.Errorf("the secret is in %v", err)
			}
		})
	}
}

// TestSignSeals shows that neither the ID nor the token of a signature comes to the plugin, and that both come to the host.
func TestSignSeals(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.variables["KEY"], l.variables["ID"], l.variables["SESSION"] = "the-secret-key", "AKIATHEKEYID", "the+session/token=="
	seen := make(chan *http.Request, 1)
	port := l.servePlain(func(_ http.ResponseWriter, r *http.Request) { seen <- r })
	other := l.servePlain(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s has the sealed: %v", r.URL, r.Header) })
	host := "http://localhost:" + port
	s := l.services(service.Grants{
		Hosts: []string{host, "http://localhost:" + other},
		Secrets: map[string]service.Secret{
			"key": fromEnv("KEY", "sign-aws4", host), "id": fromEnv("ID", "sign-aws4", host), "session": fromEnv("SESSION", "sign-aws4", host),
		},
	})
	request := sdk.AWSRequest{
		HTTPMethod: "PUT", URL: host + "/bucket/a b+c?x=1", AccessKeyID: "{{secret:id}}", SessionToken: "{{secret:session}}",
		Region: "us-east-1", Service: "s3", PresignSeconds: 60,
	}
	presigned, err := s.SDK().Sign.Sign(t.Context(), sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: &request})
	if err != nil {
		t.Fatal(err)
	}
	request.PresignSeconds = 0
	signed, err := s.SDK().Sign.Sign(t.Context(), sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: &request})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"AKIATHEKEYID", "the+session/token==", url.QueryEscape("the+session/token==")} {
		if strings.Contains(presigned.URL, secret) || strings.Contains(sdk.HeaderValue(signed.Header, "Authorization"), secret) ||
			strings.Contains(sdk.HeaderValue(signed.Header, "X-Amz-Security-Token"), secret) {
			t.Errorf("%s is in %+v, %+v", secret, presigned, signed)
		}
	}
	if r := get(t, s, sdk.HTTPRequest{Method: "PUT", URL: presigned.URL}); r.Error != nil {
		t.Fatal(r.Error)
	}
	got := <-seen
	if q := got.URL.Query(); q.Get("X-Amz-Security-Token") != "the+session/token==" || !strings.HasPrefix(q.Get("X-Amz-Credential"), "AKIATHEKEYID/") {
		t.Errorf("the host got %v", q)
	}
	if want := "/bucket/a%20b%2Bc"; got.URL.EscapedPath() != want {
		t.Errorf("path %s, want %s", got.URL.EscapedPath(), want)
	}
	if r := get(t, s, sdk.HTTPRequest{Method: "PUT", URL: request.URL, Header: signed.Header}); r.Error != nil {
		t.Fatal(r.Error)
	}
	got = <-seen
	if got.Header.Get("X-Amz-Security-Token") != "the+session/token==" || !strings.Contains(got.Header.Get("Authorization"), "Credential=AKIATHEKEYID/") {
		t.Errorf("the host got %v", got.Header)
	}
	elsewhere := strings.Replace(presigned.URL, ":"+port, ":"+other, 1)
	wantFailure(t, get(t, s, sdk.HTTPRequest{Method: "PUT", URL: elsewhere}), sdk.CodeDenied, "is not granted for")
	wantFailure(t, get(t, s, sdk.HTTPRequest{Method: "PUT", URL: "http://localhost:" + other, Header: signed.Header}), sdk.CodeDenied, "is not granted for")
}

// TestSignedRequests has the host sign what it sends, again on a redirect within the host, and never after it left it.
func TestSignedRequests(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.variables["KEY"] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	var other string
	record := func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("Authorization")+r.URL.Query().Get("X-Amz-Signature")+" "+r.Header.Get("X-Amz-Content-Sha256"))
	}
	port := l.servePlain(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end", http.StatusTemporaryRedirect)
		case "/other":
			http.Redirect(w, r, "http://localhost:"+other+"/", http.StatusTemporaryRedirect)
		default:
			record(w, r)
		}
	})
	other = l.servePlain(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			http.Redirect(w, r, "http://localhost:"+port+"/back", http.StatusTemporaryRedirect)
			return
		}
		record(w, r)
	})
	host := "http://localhost:" + port
	s := l.services(service.Grants{
		Hosts: []string{host, "http://localhost:" + other}, Secrets: map[string]service.Secret{"key": fromEnv("KEY", "sign-aws4")},
	}, at("20130524T000000Z"))
	ask := func(path string, presign int64) string {
		r := get(t, s, sdk.HTTPRequest{
			Method: "PUT", URL: host + path, Body: []byte("Welcome to Amazon S3."), Redirect: sdk.RedirectGranted,
			Sign: &sdk.SignRequest{Method: sdk.SignAWS4, Secret: "key", AWS: &sdk.AWSRequest{
				AccessKeyID: "AK", Region: "us-east-1", Service: "s3", PresignSeconds: presign,
			}},
		})
		if r.Error != nil {
			t.Fatal(r.Error)
		}
		return string(r.Body)
	}
	direct := ask("/end", 0)
	if !strings.HasPrefix(direct, "AWS4-HMAC-SHA256 Credential=AK/20130524/us-east-1/s3/aws4_request") ||
		!strings.HasSuffix(direct, " 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072") {
		t.Errorf("the server got %q", direct)
	}
	if got := ask("/same", 0); got != direct {
		t.Errorf("after a redirect within the host %q, want %q", got, direct)
	}
	if got := ask("/other", 0); got != " " {
		t.Errorf("after a redirect away and back %q, want no signature", got)
	}
	if got := ask("/end", 60); len(got) != 65 {
		t.Errorf("presigned: %q", got)
	}
	r := get(t, s, sdk.HTTPRequest{URL: host, Sign: &sdk.SignRequest{Method: sdk.SignHMAC, Secret: "key"}})
	wantFailure(t, r, sdk.CodeInvalid, "sign-aws4")
}
