//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestS3FreshHost prints what a rebuild takes on a host that has nothing but the bucket, beside the rebuild from a host's own cache,
// in turns: of an image whose layers the registry has, and of one whose layers it has not, so that they have to come from
// the bucket. What the bucket gives, records and layers, takes alone is measured with the same requests, made again.
func TestS3FreshHost(t *testing.T) {
	const rounds = 15
	y := newTeam(t)
	direct := y.config(t, y.minio.address, "TROWEL_CACHE_KEY")
	home := host{y, "home", direct}
	want := home.build(t, y.registry.Address+"/e2e/fresh:1").digest

	for name, reference := range map[string]func(n int) string{
		"the registry has the layers": func(int) string { return y.registry.Address + "/e2e/fresh:1" },
		"the layers are transferred":  func(n int) string { return fmt.Sprintf("%s/e2e/fresh-%d:1", y.registry.Address, n) },
	} {
		t.Run(name, func(t *testing.T) {
			gets := y.downloads(t, reference(0))
			var local, fresh []built
			var transfer []time.Duration
			for n := range rounds {
				local = append(local, home.build(t, reference(2*n+1)))
				dir := fmt.Sprintf("fresh-%d", n)
				must(t, os.RemoveAll(filepath.Join(y.dir, dir)))
				fresh = append(fresh, host{y, dir, direct}.build(t, reference(2*n+2)))
				transfer = append(transfer, y.transfer(t, gets))
				for _, b := range []built{local[n], fresh[n]} {
					if b.digest != want || b.ran() {
						t.Fatalf("built %s instead of %s:\n%s", b.digest, want, b.log)
					}
				}
			}
			wall := func(b built) time.Duration { return b.wall }
			cpu := func(b built) time.Duration { return b.cpu }
			l, f, moved := median(local, wall), median(fresh, wall), median(transfer, func(d time.Duration) time.Duration { return d })
			t.Logf("local %v (CPU %v), from the bucket %v (CPU %v), transfer of %d objects alone %v", l, median(local, cpu), f, median(fresh, cpu), len(gets), moved)
			t.Logf("%.2f times the rebuild from the local cache with the transfer", float64(f)/float64(l+moved))
		})
	}
}

// median is the median of what was measured.
func median[T any](of []T, what func(T) time.Duration) time.Duration {
	var all []time.Duration
	for _, one := range of {
		all = append(all, what(one))
	}
	slices.Sort(all)
	return all[len(all)/2].Round(time.Millisecond / 10)
}

// downloads builds on a fresh host and returns the requests by which it downloaded records and blobs.
func (y *team) downloads(t *testing.T, reference string) []*http.Request {
	t.Helper()
	var mu sync.Mutex
	var gets []*http.Request
	proxy := y.minio.proxy(t, func(_ int64, r *http.Request) proxyFault {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodGet && (strings.Contains(r.URL.Path, "/blobs/") || strings.Contains(r.URL.Path, "/records/")) {
			again := r.Clone(t.Context())
			again.RequestURI, again.URL.Scheme, again.URL.Host = "", "http", y.minio.address // Host is what was signed
			gets = append(gets, again)
		}
		return faultNone
	})
	config := y.config(t, strings.TrimPrefix(proxy.URL, "http://"), "TROWEL_CACHE_KEY")
	must(t, os.RemoveAll(filepath.Join(y.dir, "recorded")))
	host{y, "recorded", config}.build(t, reference)
	return gets
}

// transfer is how long it takes to make requests again, all at once.
func (y *team) transfer(t *testing.T, requests []*http.Request) time.Duration {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	var wait sync.WaitGroup
	start := time.Now()
	for _, r := range requests {
		wait.Go(func() {
			response, err := client.Do(r.Clone(t.Context()))
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode/100 != 2 && response.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %s, %v", r.URL.Path, response.Status, err)
			}
		})
	}
	wait.Wait()
	return time.Since(start)
}
