//go:build e2e

package e2e

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/trowel-build/trowel/bench/lab"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

// MinIO and its client, which have no versions that the go command knows but by commit.
const (
	minioModule = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
	mcModule    = "github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9"
)

const (
	minioKey    = "trowel-test"
	minioSecret = "no-plugin-sees-this"
	minioRegion = "eu-test-1"
)

// labDir is the directory in which the lab keeps what it installs.
func labDir(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("TROWEL_LAB"); dir != "" {
		return dir
	}
	dir, err := lab.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// labProgram returns the path of a program of a Go module, which it compiles where the lab has it not yet.
func labProgram(t *testing.T, module string) string {
	t.Helper()
	dir := labDir(t)
	path, _, _ := strings.Cut(module, "@")
	program := filepath.Join(dir, "bin", filepath.Base(path))
	if _, err := os.Stat(program); err == nil {
		return program
	}
	t.Logf("go install %s", module)
	// Beside the place where it belongs, so that an interrupted compilation leaves nothing there.
	made, err := os.MkdirTemp(dir, "install")
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(program), 0o755); err == nil {
			made, err = os.MkdirTemp(dir, "install")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(made)
	cmd := exec.CommandContext(t.Context(), "go", "install", "-buildvcs=false", module)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOBIN="+made)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v\n%s", module, err, out)
	}
	if err := os.Rename(filepath.Join(made, filepath.Base(program)), program); err != nil {
		t.Fatal(err)
	}
	return program
}

// minio is a MinIO on loopback.
type minio struct {
	address string // host and port
	buckets atomic.Int32
}

// startMinIO starts a MinIO with an empty store until t ends.
func startMinIO(t *testing.T) *minio {
	t.Helper()
	program := labProgram(t, minioModule)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &minio{address: listener.Addr().String()}
	listener.Close()
	log, err := os.Create(filepath.Join(t.TempDir(), "minio.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "server", "--quiet", "--address", m.address, "--console-address", "127.0.0.1:0", t.TempDir())
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+minioKey, "MINIO_ROOT_PASSWORD="+minioSecret, "MINIO_BROWSER=off",
		"MINIO_REGION="+minioRegion, "MINIO_DOMAIN=s3.test", "MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		log.Close()
	})
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		response, err := http.Get("http://" + m.address + "/minio/health/ready")
		if err == nil {
			response.Body.Close()
			// It says that it is ready some time before it knows its users.
			if response.StatusCode == http.StatusOK && m.do(t, "s3", "GET", "/", "").Status == http.StatusOK {
				return m
			}
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("MinIO does not serve: %v\n%s", err, text)
		}
	}
}

// grants are what a user grants the plugin for the MinIO at an address.
func (m *minio) grants(hosts ...string) service.Grants {
	return service.Grants{
		Hosts: append(hosts, "http://"+m.address, "127.0.0.1"),
		Secrets: map[string]service.Secret{
			"s3":    {SecretSource: service.SecretSource{Env: "S3_SECRET_KEY"}, Use: "sign-aws4"},
			"token": {SecretSource: service.SecretSource{Env: "S3_SESSION_TOKEN"}, Use: "sign-aws4"},
		},
	}
}

// services are the host's services for a plugin with the grants.
func services(t testing.TB, grants service.Grants, change ...func(*service.Options)) *service.Services {
	t.Helper()
	o := service.Options{
		Plugin: "cache", Kind: sdk.KindCache, Grants: grants,
		Getenv: func(name string) string { return map[string]string{"S3_SECRET_KEY": minioSecret}[name] },
		Report: func(level sdk.Level, text string) { t.Logf("%s: %s", level, text) },
	}
	for _, f := range change {
		f(&o)
	}
	s, err := service.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// newBucket makes a bucket.
func (m *minio) newBucket(t testing.TB) string {
	t.Helper()
	name := "ci-cache-" + string(rune('a'+m.buckets.Load()/26)) + string(rune('a'+m.buckets.Load()%26))
	m.buckets.Add(1)
	if r := m.do(t, "s3", "PUT", "/"+name, ""); r.Status != 200 {
		t.Fatalf("make a bucket: %d %s", r.Status, r.Body)
	}
	return name
}

// do makes a request as the owner of the MinIO.
func (m *minio) do(t testing.TB, awsService, method, path, body string) sdk.HTTPResponse {
	t.Helper()
	ctx := sdk.WithServices(context.WithoutCancel(t.Context()), services(t, m.grants()).SDK())
	request := sdk.HTTPRequest{
		Method: method, URL: "http://" + m.address + path, Body: []byte(body),
		Sign: &sdk.SignRequest{Method: sdk.SignAWS4, Secret: "s3", AWS: &sdk.AWSRequest{AccessKeyID: minioKey, Region: minioRegion, Service: awsService}},
	}
	if body != "" {
		request.Header = []sdk.Header{{Name: "Content-Type", Value: "application/x-www-form-urlencoded"}}
	}
	answers, err := sdk.HTTP(ctx, request)
	if err != nil || answers[0].Error != nil {
		t.Fatalf("%s %s: %v %v", method, path, err, answers)
	}
	return answers[0]
}

// faultyProxy is a proxy before the MinIO which does to the n-th request, from 1, what fault decides.
type faultyProxy struct {
	*httptestServer
	requests atomic.Int64
	fault    func(n int64, r *http.Request) proxyFault
}

// proxyFault is something that networks and servers do.
type proxyFault string

const (
	faultNone      proxyFault = ""
	fault500       proxyFault = "500"      // instead of passing the request on
	fault503After  proxyFault = "503"      // although the request was passed on
	faultReset     proxyFault = "reset"    // before the answer, after the request
	faultSlow      proxyFault = "slow"     // pauses before the answer
	faultTruncated proxyFault = "truncate" // cuts the answer's body
	faultKilled    proxyFault = "killed"   // cuts the request's body
)

// proxy starts a proxy before the MinIO.
func (m *minio) proxy(t testing.TB, fault func(n int64, r *http.Request) proxyFault) *faultyProxy {
	t.Helper()
	p := &faultyProxy{fault: fault}
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			in := r.In.URL
			r.Out.URL = &url.URL{Scheme: "http", Host: m.address, Path: in.Path, RawPath: in.RawPath, RawQuery: in.RawQuery}
			r.Out.Host = r.In.Host // the name that was signed
		},
		Transport:    &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     silent(),
	}
	p.httptestServer = newHTTPTestServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch kind := p.fault(p.requests.Add(1), r); kind {
		case fault500:
			http.Error(w, "<Error><Code>InternalError</Code><Message>try again</Message></Error>", http.StatusInternalServerError)
		case fault503After:
			reverse.ServeHTTP(&discarding{header: http.Header{}}, r)
			http.Error(w, "<Error><Code>SlowDown</Code><Message>try again</Message></Error>", http.StatusServiceUnavailable)
		case faultReset:
			reverse.ServeHTTP(&discarding{header: http.Header{}}, r)
			panic(http.ErrAbortHandler)
		case faultTruncated:
			reverse.ServeHTTP(&cutting{ResponseWriter: w}, r)
		case faultKilled:
			r.Body = &cutBody{ReadCloser: r.Body, left: r.ContentLength / 2}
			reverse.ServeHTTP(&discarding{header: http.Header{}}, r)
			panic(http.ErrAbortHandler)
		case faultSlow:
			time.Sleep(300 * time.Millisecond)
			reverse.ServeHTTP(w, r)
		default:
			reverse.ServeHTTP(w, r)
		}
	})
	return p
}
