package plugins

import "embed"

//go:embed code/amd64
var code embed.FS
