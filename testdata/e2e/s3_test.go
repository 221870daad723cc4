//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/transfer"
	"github.com/trowel-build/trowel/plugins/s3/bucket"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugintest"
)

// s3Backend makes the plugin's end, in one of the ways that it can be run.
type s3Backend func(t testing.TB, services *service.Services, config map[string]any) transfer.Backend

// native runs the plugin's code in this process, with the host's services.
func native(t testing.TB, services *service.Services, config map[string]any) transfer.Backend {
	t.Helper()
	b, err := bucket.New(sdk.WithServices(context.WithoutCancel(t.Context()), services.SDK()), sdk.NewConfig(config))
	if err != nil {
		t.Fatal(err)
	}
	n := &nativeBucket{Bucket: b, services: services.SDK()}
	return transfer.Backend{Reader: n, Planner: n}
}

// nativeBucket gives each call the services, as a transport does.
type nativeBucket struct {
	*bucket.Bucket
	services sdk.Services
}

func (n *nativeBucket) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	return n.Bucket.GetRecords(sdk.WithServices(ctx, n.services), keys)
}

func (n *nativeBucket) PutRecords(ctx context.Context, records []sdk.Record) error {
	return n.Bucket.PutRecords(sdk.WithServices(ctx, n.services), records)
}

func (n *nativeBucket) StatBlobs(ctx context.Context, digests []sdk.Digest) ([]sdk.Blob, error) {
	return n.Bucket.StatBlobs(sdk.WithServices(ctx, n.services), digests)
}

func (n *nativeBucket) GetBlob(ctx context.Context, digest sdk.Digest) (sdk.Content, error) {
	return n.Bucket.GetBlob(sdk.WithServices(ctx, n.services), digest)
}

func (n *nativeBucket) PlanPut(ctx context.Context, blob sdk.Blob) (sdk.Transfer, error) {
	return n.Bucket.PlanPut(sdk.WithServices(ctx, n.services), blob)
}

func (n *nativeBucket) FinishPut(ctx context.Context, blob sdk.Blob, done sdk.TransferResult) error {
	return n.Bucket.FinishPut(sdk.WithServices(ctx, n.services), blob, done)
}

// config is the user's for a bucket.
func (m *minio) config(bucket string, more ...any) map[string]any {
	c := map[string]any{"bucket": bucket, "endpoint": "http://" + m.address, "region": minioRegion, "access-key-id": minioKey}
	for i := 0; i < len(more); i += 2 {
		c[more[i].(string)] = more[i+1]
	}
	return c
}

// cache is what the core would have.
func s3Cache(t testing.TB, run s3Backend, s *service.Services, config map[string]any) *transfer.Cache {
	t.Helper()
	e := transfer.New(transfer.Options{Send: s.Send, Attempts: 8, Backoff: 20 * time.Millisecond})
	return transfer.NewCache(run(t, s, config), e)
}

func TestS3(t *testing.T) {
	m := startMinIO(t)
	backends := map[string]s3Backend{"native": native, "wasm": s3Module(t)}
	for name, run := range backends {
		t.Run(name, func(t *testing.T) {
			t.Run("path style", func(t *testing.T) {
				plugintest.Cache(t, func(t *testing.T) sdk.Cache {
					return s3Cache(t, run, services(t, m.grants()), m.config(m.newBucket(t)))
				})
			})
			t.Run("virtual host style and prefix", func(t *testing.T) { testVirtualHost(t, m, run) })
			t.Run("prefixes part", func(t *testing.T) { testPrefixes(t, m, run) })
			t.Run("session token", func(t *testing.T) { testSessionToken(t, m, run) })
			t.Run("multipart", func(t *testing.T) { testMultipart(t, m, run) })
			t.Run("one batch", func(t *testing.T) { testOneBatch(t, m, run) })
			t.Run("faults", func(t *testing.T) { testFaults(t, m, run) })
			t.Run("forty writers", func(t *testing.T) { testFortyWriters(t, m, run) })
			t.Run("poison", func(t *testing.T) { testPoison(t, m, run) })
			t.Run("errors", func(t *testing.T) { testErrors(t, m, run) })
		})
	}
}

// testVirtualHost names the bucket in the host, which a proxy finds.
func testVirtualHost(t *testing.T, m *minio, run s3Backend) {
	proxy := m.proxy(t, func(int64, *http.Request) proxyFault { return faultNone })
	through, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	plugintest.Cache(t, func(t *testing.T) sdk.Cache {
		bucket := m.newBucket(t)
		s := services(t, m.grants("http://"+bucket+".s3.test"), func(o *service.Options) {
			o.Proxy = func(*url.URL) (*url.URL, error) { return through, nil }
		})
		return s3Cache(t, run, s, m.config(bucket, "endpoint", "http://s3.test", "path-style", false, "prefix", "/team/app-1/"))
	})
}

// testPrefixes has two caches in one bucket.
func testPrefixes(t *testing.T, m *minio, run s3Backend) {
	bucket := m.newBucket(t)
	s := services(t, m.grants())
	one := s3Cache(t, run, s, m.config(bucket, "prefix", "one"))
	other := s3Cache(t, run, s, m.config(bucket, "prefix", "one/other"))
	content := bytesOf(1, 1000)
	mustPut(t, one, content)
	must(t, one.PutRecords(t.Context(), []sdk.Record{{Key: "k", Value: []byte("v")}}))
	if records, err := other.GetRecords(t.Context(), []sdk.Key{"k"}); err != nil || len(records) > 0 {
		t.Errorf("the other prefix has %d records: %v", len(records), err)
	}
	if _, err := other.GetBlob(t.Context(), digestOf(content).Digest); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("the other prefix has the blob: %v", err)
	}
	if r := m.do(t, "s3", "HEAD", "/"+bucket+"/one/records/k", ""); r.Status != 200 {
		t.Errorf("the record is not where the documentation says: %d", r.Status)
	}
}

// testSessionToken uses temporary credentials, of which all but the ID are secrets.
func testSessionToken(t *testing.T, m *minio, run s3Backend) {
	bucket := m.newBucket(t)
	// The owner of a MinIO cannot assume a role, but a user can.
	answer := m.do(t, "sts", "POST", "/", "Action=AssumeRole&Version=2011-06-15&DurationSeconds=900")
	field := func(name string) string {
		_, rest, _ := strings.Cut(string(answer.Body), "<"+name+">")
		text, _, _ := strings.Cut(rest, "</"+name+">")
		if text == "" {
			t.Fatalf("AssumeRole: no %s in %s", name, answer.Body)
		}
		return text
	}
	variables := map[string]string{"S3_SECRET_KEY": field("SecretAccessKey"), "S3_SESSION_TOKEN": field("SessionToken")}
	s := services(t, m.grants(), func(o *service.Options) { o.Getenv = func(name string) string { return variables[name] } })
	config := m.config(bucket, "access-key-id", field("AccessKeyId"), "session-token", "{{secret:token}}", "part-size", "5MiB")
	c := s3Cache(t, run, s, config)
	for _, n := range []int{100, 11 << 20} {
		content := bytesOf(2, n)
		mustPut(t, c, content)
		mustGet(t, c, content)
	}
	must(t, c.PutRecords(t.Context(), []sdk.Record{{Key: "k", Value: []byte("v")}}))
	delete(variables, "S3_SESSION_TOKEN")
	without := services(t, m.grants(), func(o *service.Options) { o.Getenv = func(name string) string { return variables[name] } })
	delete(config, "session-token")
	_, err := s3Cache(t, run, without, config).GetRecords(t.Context(), []sdk.Key{"k"})
	if sdk.AsError(err).Code != sdk.CodeUnauthorized || !strings.Contains(err.Error(), "session-token") {
		t.Errorf("without the token: %v", err)
	}
}

func testMultipart(t *testing.T, m *minio, run s3Backend) {
	bucket := m.newBucket(t)
	var uploads []string
	var mu sync.Mutex
	proxy := m.proxy(t, func(_ int64, r *http.Request) proxyFault {
		mu.Lock()
		defer mu.Unlock()
		uploads = append(uploads, r.Method+" "+strings.Join(sortedKeys(r.URL.Query()), ","))
		return faultNone
	})
	s := services(t, m.grants("http://"+proxy.Listener.Addr().String()))
	c := s3Cache(t, run, s, m.config(bucket, "endpoint", proxy.URL, "part-size", "5MiB"))
	count := func(what string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, u := range uploads {
			if strings.Contains(u, what) {
				n++
			}
		}
		return n
	}
	for i, size := range []int{5 << 20, 5<<20 + 1, 23<<20 + 17} {
		uploads = nil
		content := bytesOf(uint64(10+i), size)
		mustPut(t, c, content)
		if want := []int{0, 2, 5}[i]; count("partNumber") != want {
			t.Errorf("%d bytes were sent in %d parts, want %d", size, count("partNumber"), want)
		}
		mustGet(t, c, content)
		uploads = nil
		mustPut(t, c, content)
		if size > 5<<20 && (count("partNumber") > 0 || count("") != 1) {
			t.Errorf("%d bytes that are there: %d requests, %d of them parts", size, count(""), count("partNumber"))
		}
	}
}

// testOneBatch counts the calls of a build with 30 steps.
func testOneBatch(t *testing.T, m *minio, run s3Backend) {
	s := services(t, m.grants())
	backend := run(t, s, m.config(m.newBucket(t)))
	var records []sdk.Record
	var keys []sdk.Key
	for i := range 30 {
		sum := sha256.Sum256([]byte{byte(i)})
		key := sdk.Key("definition/sha256:" + hex.EncodeToString(sum[:]))
		records, keys = append(records, sdk.Record{Key: key, Value: bytesOf(uint64(i), 500)}), append(keys, key)
	}
	must(t, backend.Reader.PutRecords(t.Context(), records[:20]))
	start := time.Now()
	got, err := backend.Reader.GetRecords(t.Context(), keys)
	if err != nil || len(got) != 20 {
		t.Fatalf("%d records: %v", len(got), err)
	}
	t.Logf("30 look-ups took %s", time.Since(start).Round(time.Millisecond))
}

// testFaults moves records and blobs through a network that fails one request in three.
func testFaults(t *testing.T, m *minio, run s3Backend) {
	for _, kind := range []proxyFault{fault500, fault503After, faultReset, faultTruncated, faultKilled, faultSlow} {
		t.Run(string(kind), func(t *testing.T) {
			c := faultyCache(t, m, run, m.newBucket(t), func(n int64, _ *http.Request) proxyFault {
				if n%3 == 0 {
					return kind
				}
				return faultNone
			})
			for i, size := range []int{0, 1, 100_000, 12 << 20} {
				content := bytesOf(uint64(20+i), size)
				mustPut(t, c, content)
				mustGet(t, c, content)
			}
			var records []sdk.Record
			var keys []sdk.Key
			for i := range 30 {
				records = append(records, sdk.Record{Key: sdk.Key(fmt.Sprintf("r/%d", i)), Value: bytesOf(uint64(i), 3000*i)})
				keys = append(keys, records[i].Key)
			}
			must(t, c.PutRecords(t.Context(), records))
			got, err := c.GetRecords(t.Context(), keys)
			must(t, err)
			held := map[sdk.Key][]byte{}
			for _, r := range got {
				held[r.Key] = r.Value
			}
			for _, r := range records {
				if !bytes.Equal(held[r.Key], r.Value) {
					t.Errorf("record %q has %d bytes that are not the %d put", r.Key, len(held[r.Key]), len(r.Value))
				}
			}
		})
	}
}

// faultyCache is a cache behind a proxy.
func faultyCache(t testing.TB, m *minio, run s3Backend, bucket string, fault func(int64, *http.Request) proxyFault) *transfer.Cache {
	t.Helper()
	proxy := m.proxy(t, fault)
	s := services(t, m.grants("http://"+proxy.Listener.Addr().String()))
	return s3Cache(t, run, s, m.config(bucket, "endpoint", proxy.URL, "part-size", "5MiB"))
}

// testFortyWriters has forty builds write to one bucket, the same and different things, through a network that fails now and
// then, some of them killed half way. Whoever finishes has lost nothing, and nobody reads what nobody wrote.
func testFortyWriters(t *testing.T, m *minio, run s3Backend) {
	bucket := m.newBucket(t)
	kinds := []proxyFault{fault500, fault503After, faultReset, faultTruncated, faultKilled}
	proxy := m.proxy(t, func(int64, *http.Request) proxyFault {
		if rand.IntN(12) == 0 {
			return kinds[rand.IntN(len(kinds))]
		}
		return faultNone
	})
	s := services(t, m.grants("http://"+proxy.Listener.Addr().String()))
	c := s3Cache(t, run, s, m.config(bucket, "endpoint", proxy.URL, "part-size", "5MiB"))
	shared := [][]byte{bytesOf(100, 300), bytesOf(101, 200_000), bytesOf(102, 6<<20)}
	var wg sync.WaitGroup
	finished := make([]bool, 40)
	for i := range finished {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%8 == 7 { // is killed
				time.AfterFunc(time.Duration(rand.IntN(1500))*time.Millisecond, cancel)
			}
			err := writeBuild(ctx, c, i, shared)
			finished[i] = err == nil
			if err != nil && ctx.Err() == nil {
				t.Errorf("build %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	good := s3Cache(t, run, services(t, m.grants()), m.config(bucket))
	for i, done := range finished {
		records, err := good.GetRecords(t.Context(), []sdk.Key{buildKey(i)})
		must(t, err)
		if len(records) == 0 {
			if done {
				t.Errorf("the record of build %d is lost", i)
			}
			continue
		}
		// What a record names is there and right.
		for _, sum := range strings.Fields(string(records[0].Value)) {
			content, err := read(t.Context(), good, sdk.Digest(sum))
			if err != nil || string(digestOf(content).Digest) != sum {
				t.Errorf("build %d names %s: %v", i, sum, err)
			}
		}
	}
}

func buildKey(i int) sdk.Key { return sdk.Key(fmt.Sprintf("definition/build-%d", i)) }

// writeBuild stores the blobs of a build and then the record that names them.
func writeBuild(ctx context.Context, c *transfer.Cache, i int, shared [][]byte) error {
	var value []string
	for _, content := range append([][]byte{bytesOf(uint64(200+i), 50_000)}, shared...) {
		if err := c.PutBlob(ctx, digestOf(content), contentOf(content)); err != nil {
			return err
		}
		value = append(value, string(digestOf(content).Digest))
	}
	return c.PutRecords(ctx, []sdk.Record{{Key: buildKey(i), Value: []byte(strings.Join(value, " "))}})
}

// testPoison has somebody else write to the bucket.
func testPoison(t *testing.T, m *minio, run s3Backend) {
	bucket := m.newBucket(t)
	c := s3Cache(t, run, services(t, m.grants()), m.config(bucket))
	content := bytesOf(300, 100_000)
	mustPut(t, c, content)
	sum := strings.TrimPrefix(string(digestOf(content).Digest), "sha256:")
	evil := bytes.Clone(content)
	evil[50_000]++
	if r := m.do(t, "s3", "PUT", "/"+bucket+"/blobs/sha256/"+sum, string(evil)); r.Status != 200 {
		t.Fatalf("poison: %d", r.Status)
	}
	if _, err := read(t.Context(), c, digestOf(content).Digest); !errors.Is(err, transfer.ErrMismatch) {
		t.Errorf("a poisoned blob: %v", err)
	}
	mustPut(t, c, content) // mends it
	mustGet(t, c, content)
	large := strings.Repeat("x", 1<<20+1)
	m.do(t, "s3", "PUT", "/"+bucket+"/records/large", large)
	must(t, c.PutRecords(t.Context(), []sdk.Record{{Key: "good", Value: []byte("v")}}))
	records, err := c.GetRecords(t.Context(), []sdk.Key{"large", "good"})
	if err != nil || len(records) != 1 || records[0].Key != "good" {
		t.Errorf("beside a record that is too large: %d records, %v", len(records), err)
	}
}

// testErrors demands that an error says what to do.
func testErrors(t *testing.T, m *minio, run s3Backend) {
	bucket := m.newBucket(t)
	for _, tt := range []struct {
		name   string
		config map[string]any
		secret string
		code   sdk.ErrorCode
		want   string
	}{
		{"no bucket", m.config("nobody-made-this"), minioSecret, sdk.CodeInvalid, `create the bucket "nobody-made-this"`},
		{"wrong secret", m.config(bucket), "wrong", sdk.CodeUnauthorized, "is not the secret access key of access-key-id"},
		{"wrong key", m.config(bucket, "access-key-id", "nobody"), minioSecret, sdk.CodeUnauthorized, "correct access-key-id"},
		{"wrong region", m.config(bucket, "region", "us-west-9"), minioSecret, sdk.CodeInvalid, `set region = "` + minioRegion + `"`},
		{"not granted", m.config(bucket, "endpoint", "http://127.0.0.2:1"), minioSecret, sdk.CodeDenied, "plugins.cache.allow.hosts"},
	} {
		s := services(t, m.grants(), func(o *service.Options) { o.Getenv = func(string) string { return tt.secret } })
		c := s3Cache(t, run, s, tt.config)
		_, err := c.GetRecords(t.Context(), []sdk.Key{"k"})
		if sdk.AsError(err).Code != tt.code || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: get record: %v", tt.name, err)
		}
		err = c.PutBlob(t.Context(), digestOf([]byte("x")), contentOf([]byte("x")))
		if err == nil || strings.Contains(err.Error(), "X-Amz-Signature") {
			t.Errorf("%s: put blob: %v", tt.name, err)
		}
		t.Logf("%s: %v", tt.name, err)
	}
}
