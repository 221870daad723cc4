package plugins

import "embed"

//go:embed code/arm64
var code embed.FS
