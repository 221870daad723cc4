package host

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/lower"
)

// GrantNetworkHost lets RUN --network=host have the machine's network by name.
const GrantNetworkHost = "network.host"

// checkGrants reads what the build is allowed beyond the usual.
func (b *build) checkGrants() error {
	for _, g := range b.Allow {
		switch g {
		case GrantNetworkHost:
		case "security.insecure":
			return &Error{errors.New("allow security.insecure: it cannot be granted: RUN --security=insecure is not supported"), "RUN has the capabilities that Docker gives a container"}
		default:
			return fmt.Errorf("allow %q: want %s", g, GrantNetworkHost)
		}
	}
	return nil
}

// refuseUngranted finds a step that asks for what the build is not allowed.
func (b *build) refuseUngranted(lowered loweredStages) error {
	if slices.Contains(b.Allow, GrantNetworkHost) || b.Network == string(effect.NetworkHost) {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(lowered)) {
		for _, st := range lowered[id].Steps {
			if slices.ContainsFunc(st.Effects, wantsHostNetwork) {
				return b.refuse(st)
			}
		}
	}
	return nil
}

func wantsHostNetwork(x effect.Effect) bool {
	exec, ok := x.(effect.Exec)
	return ok && exec.Network == effect.NetworkHost
}

func (b *build) refuse(st lower.Step) error {
	return b.file.Fail(st.Instruction, "--network", errors.New("the machine's network is not granted"), "grant it with --allow "+GrantNetworkHost+", or to every RUN with --network host")
}
