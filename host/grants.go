package host

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
)

// What a Dockerfile may be allowed beyond the usual.
const (
	// GrantNetworkHost lets RUN --network=host have the machine's network by name.
	GrantNetworkHost = "network.host"
	// GrantSecurityInsecure lets RUN --security=insecure do to the machine whatever the builder may do.
	GrantSecurityInsecure = "security.insecure"
)

// grant is something that a step may ask for.
type grant struct {
	name, flag  string
	ungranted   string
	alternative string // what else the user could do
	wantedBy    func(effect.Exec) bool
}

func grants() []grant {
	return []grant{
		{
			GrantNetworkHost, "--network", "the machine's network is not granted", ", or to every RUN with --network host",
			func(x effect.Exec) bool { return x.Network == effect.NetworkHost },
		},
		{
			GrantSecurityInsecure, "--security", "the rights of the builder are not granted", " if you trust the Dockerfile: the step can do to this machine what the builder can",
			func(x effect.Exec) bool { return x.Security == effect.SecurityInsecure },
		},
	}
}

// checkGrants reads what the build is allowed beyond the usual.
func (b *build) checkGrants() error {
	var names []string
	for _, g := range grants() {
		names = append(names, g.name)
	}
	for _, name := range b.Allow {
		if !slices.Contains(names, name) {
			hint := dockerfile.DidYouMean(name, names)
			return &Error{fmt.Errorf("allow %q: want %s or %s", name, names[0], names[1]), hint}
		}
	}
	return nil
}

// refuseUngranted finds a step that asks for what the build is not allowed.
func (b *build) refuseUngranted(lowered loweredStages) error {
	for _, g := range grants() {
		if slices.Contains(b.Allow, g.name) || g.name == GrantNetworkHost && b.Network == string(effect.NetworkHost) {
			continue
		}
		for _, id := range slices.Sorted(maps.Keys(lowered)) {
			for _, st := range lowered[id].Steps {
				if slices.ContainsFunc(st.Effects, g.wanted) {
					return b.file.Fail(st.Instruction, g.flag, errors.New(g.ungranted), "grant it with --allow "+g.name+g.alternative)
				}
			}
		}
	}
	return nil
}

// wanted says whether an effect asks for the grant.
func (g grant) wanted(x effect.Effect) bool {
	exec, ok := x.(effect.Exec)
	return ok && g.wantedBy(exec)
}
