//go:build e2e

package e2e

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestS3TwoHosts builds on one host and again on others that share nothing with it but the bucket.
func TestS3TwoHosts(t *testing.T) {
	y := newTeam(t)
	var requests atomic.Int64
	proxy := y.minio.proxy(t, func(int64, *http.Request) proxyFault { requests.Add(1); return faultNone })
	address := strings.TrimPrefix(proxy.URL, "http://")
	config := y.config(t, address, "TROWEL_CACHE_KEY")
	reference := y.registry.Address + "/e2e/two-hosts:1"

	first := host{y, "first", config}
	cold := first.build(t, reference)
	requests.Store(0)
	local := first.build(t, reference)
	if local.digest != cold.digest || local.ran() {
		t.Fatalf("the rebuild from the local cache made %s of %s:\n%s", local.digest, cold.digest, local.log)
	}
	if n := requests.Load(); n > 0 {
		t.Errorf("a rebuild that the local cache has all of made %d requests of the bucket", n)
	}
	for _, name := range []string{"second", "third"} {
		requests.Store(0)
		remote := host{y, name, config}.build(t, reference)
		n := requests.Load()
		if remote.digest != cold.digest {
			t.Errorf("host %s made %s, not %s", name, remote.digest, cold.digest)
		}
		if remote.ran() {
			t.Errorf("host %s ran something:\n%s", name, remote.log)
		}
		// 30 steps: one batch of look-ups of their records, one of the blobs that those name, and what is downloaded.
		t.Logf("cold %v, local %v, from the bucket %v with %d requests", cold.wall, local.wall, remote.wall, n)
	}
	// A host that was given another key believes nothing that is in the bucket.
	stranger := host{y, "stranger", y.config(t, address, "S3_SECRET_KEY")}.build(t, y.registry.Address+"/e2e/two-hosts:2")
	if stranger.digest == cold.digest || !stranger.ran() {
		t.Errorf("a host with another key took what is in the bucket:\n%s", stranger.log)
	}
}
