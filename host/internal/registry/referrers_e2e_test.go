//go:build e2e

package registry

import "testing"

// TestDistributionReferrers lists referrers in the distribution project's registry, which keeps no lists.
func TestDistributionReferrers(t *testing.T) {
	t.Parallel()
	address := startDistribution(t, installDistribution(t), "")
	testReferrers(t, Repository{Registry: address, Path: "team/app"}, false)
}
