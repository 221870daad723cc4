//go:build !amd64 && !arm64

package plugins

import "embed"

var code embed.FS // there is no compiler for this processor
