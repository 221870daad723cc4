package host

import (
	"fmt"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/config"
	"github.com/trowel-build/trowel/host/internal/plan"
)

// noCache says whether a stage is to be built anew.
func (b *build) noCache(s *plan.Stage) bool {
	return bool(b.NoCache) || slices.ContainsFunc(b.NoCacheFor, func(name string) bool { return strings.EqualFold(name, s.Name) })
}

// checkNoCache finds stages to be built anew that the Dockerfile does not have.
func (b *build) checkNoCache() error {
	var names []string
	for i, s := range b.file.Stages {
		names = append(names, strings.ToLower(s.Name), fmt.Sprintf("stage-%d", i))
	}
	for _, name := range b.NoCacheFor {
		if slices.Contains(names, strings.ToLower(name)) {
			continue
		}
		hint := ""
		if near := config.Nearest(strings.ToLower(name), names); near != "" {
			hint = "did you mean " + near + "?"
		}
		return &Error{fmt.Errorf("no-cache-filter %q: the Dockerfile has no such stage", name), hint}
	}
	return nil
}
