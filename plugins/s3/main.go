// Command s3 is Trowel's plugin for caches in S3 buckets. Its README says how to use it.
package main

import (
	"github.com/trowel-build/trowel/plugins/s3/bucket"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	plugin.Main(sdk.Plugin{Name: "s3", Version: "1.0.0", Cache: bucket.Open})
}
