package main

import (
	"os"
	"path/filepath"
)

// applyCache says where base images are kept.
func (o *executorFlags) applyCache(j *executorJob) {
	if j.settings.Build.CacheDir == "" {
		j.flags.cacheDir = baseCache(o.cacheDir)
	}
}

// baseCache is the directory of base images below kaniko's, which may hold what kaniko itself keeps there; empty if there is
// no such directory.
func baseCache(dir string) string {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return ""
	}
	return filepath.Join(dir, "trowel")
}
