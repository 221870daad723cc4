package lower

import "github.com/trowel-build/trowel/host/internal/dockerfile"

// Outline is what a stage takes from whoever builds it, beside what its steps mount.
type Outline struct {
	// Used are the names of the arguments, and Args those that have their value from the stage.
	Used []string
	Args map[string]Parameter
}

// Parameter is an argument.
type Parameter struct {
	Name        string
	Value       string
	Description string
	Position    dockerfile.Position
}
