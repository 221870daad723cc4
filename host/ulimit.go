package host

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/executor"
)

// parseUlimits reads limits in an order that does not depend on how they were given: they are part of the steps' keys.
func parseUlimits(texts []string) ([]effect.Limit, error) {
	byName := map[string]effect.Limit{}
	var names []string
	for _, text := range texts {
		l, err := parseUlimit(text)
		if err != nil {
			return nil, fmt.Errorf("ulimit %q: %w", text, err)
		}
		if _, twice := byName[l.Name]; !twice {
			names = append(names, l.Name)
		}
		byName[l.Name] = l
	}
	slices.Sort(names)
	var all []effect.Limit
	for _, name := range names {
		all = append(all, byName[name])
	}
	return all, nil
}

func parseUlimit(text string) (l effect.Limit, err error) {
	name, values, found := strings.Cut(text, "=")
	soft, hard, two := strings.Cut(values, ":")
	if !two {
		hard = soft
	}
	l.Name = name
	l.Soft, err = strconv.ParseInt(soft, 10, 64)
	if err == nil {
		l.Hard, err = strconv.ParseInt(hard, 10, 64)
	}
	if err != nil || !found {
		return l, errors.New("want NAME=SOFT or NAME=SOFT:HARD, such as nofile=1024:2048")
	}
	return l, executor.Limit(l).Check()
}
