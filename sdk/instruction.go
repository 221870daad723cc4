package sdk

import "context"

// InstructionHandler gives a Dockerfile instructions of its own. It says what they are, and for each use of one what is
// to be done; the host does it, caches it and shows it as it does for COPY and RUN.
//
// A handler in a sandbox answers each Plan in an instance of its own without clock, randomness or network, so that equal
// calls have equal plans. What it reads of the context or the stage while it plans becomes part of the step's cache key.
type InstructionHandler interface {
	// Describe says what instructions the handler has.
	Describe(ctx context.Context) ([]Instruction, error)
	// Plan says what one use of an instruction does. An error of the code [CodeInvalid] is shown at the instruction's
	// line.
	Plan(ctx context.Context, call Call) (Plan, error)
}

// Instruction describes an instruction, so that its uses are checked before a handler is asked.
type Instruction struct {
	// Keyword is upper-case letters, digits and '_', and none of the Dockerfile language's own.
	Keyword string `json:"keyword"`
	Summary string `json:"summary,omitempty"` // one line
	// Usage shows the arguments, such as "SRC DEST".
	Usage string `json:"usage,omitempty"`
	Flags []Flag `json:"flags,omitempty"`
	// MinArgs and MaxArgs bound the number of arguments; a MaxArgs of 0 means MinArgs, a negative one no bound.
	MinArgs int `json:"minArgs,omitempty"`
	MaxArgs int `json:"maxArgs,omitempty"`
	// Heredocs says whether arguments may be heredocs.
	Heredocs bool `json:"heredocs,omitempty"`
}

// Flag describes a flag of an instruction, written --name=value before or after the arguments.
type Flag struct {
	Name    string   `json:"name"` // without dashes
	Summary string   `json:"summary,omitempty"`
	Type    FlagType `json:"type,omitempty"`
}

// FlagType says what values a flag takes.
type FlagType string

// The types of flags.
const (
	FlagString FlagType = ""       // one value: --name=value
	FlagBool   FlagType = "bool"   // none, "true" or "false": --name
	FlagList   FlagType = "list"   // one value, any number of times
	FlagNumber FlagType = "number" // one whole number
)

// Call is one use of an instruction. Variables in flags and arguments are expanded.
type Call struct {
	Keyword  string      `json:"keyword"`
	Flags    []FlagValue `json:"flags,omitempty"` // in the order written
	Args     []string    `json:"args,omitempty"`  // a heredoc is here by its name, such as "EOF"
	Heredocs []Heredoc   `json:"heredocs,omitempty"`
	// Env is the environment that RUN would see, NAME=value.
	Env      []string `json:"env,omitempty"`
	Workdir  string   `json:"workdir"` // absolute
	User     string   `json:"user,omitempty"`
	Shell    []string `json:"shell,omitempty"`
	Platform string   `json:"platform"`        // such as "linux/amd64"
	Stage    string   `json:"stage,omitempty"` // its name, if it has one
}

// FlagValue is a flag as it was given. A bool flag's value is "true" or "false".
type FlagValue struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

// Heredoc is a heredoc among the arguments, its variables expanded unless its word was quoted.
type Heredoc struct {
	Name    string `json:"name"`
	Content string `json:"content,omitempty"`
}

// Flag returns the last value of a flag, or "".
func (c Call) Flag(name string) string {
	value := ""
	for _, f := range c.Flags {
		if f.Name == name {
			value = f.Value
		}
	}
	return value
}

// FlagList returns all values of a flag.
func (c Call) FlagList(name string) []string {
	var values []string
	for _, f := range c.Flags {
		if f.Name == name {
			values = append(values, f.Value)
		}
	}
	return values
}

// Plan is what a use of an instruction does: its effects, in order. Those that change files make one layer together.
type Plan struct {
	Effects []Effect `json:"effects,omitempty"`
	// Notes are shown to the user.
	Notes []string `json:"notes,omitempty"`
}

// Effect is one thing to do; exactly one field is set.
type Effect struct {
	Exec    *Exec    `json:"exec,omitempty"`
	Copy    *Copy    `json:"copy,omitempty"`
	Write   *Write   `json:"write,omitempty"`
	Mkdir   *Mkdir   `json:"mkdir,omitempty"`
	Symlink *Symlink `json:"symlink,omitempty"`
	Remove  *Remove  `json:"remove,omitempty"`
	Set     *Set     `json:"set,omitempty"`
}

// Exec runs a process in the stage's root file system, as RUN does.
type Exec struct {
	Args    []string `json:"args"`              // the first is looked up in PATH
	Env     []string `json:"env,omitempty"`     // NAME=value, on top of what RUN would see
	Dir     string   `json:"dir,omitempty"`     // empty means the WORKDIR
	User    string   `json:"user,omitempty"`    // empty means the USER
	Network string   `json:"network,omitempty"` // "", "default", "host" or "none"
}

// Copy copies files into the stage, as COPY does.
type Copy struct {
	// From is where the files are: "" for the build context, or what COPY --from takes.
	From    string   `json:"from,omitempty"`
	Sources []string `json:"sources"` // relative to the root of From; wildcards work
	Dest    string   `json:"dest"`    // relative to the WORKDIR, or absolute
	Owner   string   `json:"owner,omitempty"`
	Mode    string   `json:"mode,omitempty"` // octal or symbolic
	Exclude []string `json:"exclude,omitempty"`
	Unpack  bool     `json:"unpack,omitempty"` // archives are unpacked, as ADD does; not with From or Parents
	Parents bool     `json:"parents,omitempty"`
	Link    bool     `json:"link,omitempty"`
}

// Write makes a file, replacing what is there.
type Write struct {
	Path    string `json:"path"` // relative to the WORKDIR, or absolute
	Content []byte `json:"content,omitempty"`
	Mode    string `json:"mode,omitempty"` // octal; empty means 0644
	Owner   string `json:"owner,omitempty"`
}

// Mkdir makes a directory and its missing parents.
type Mkdir struct {
	Path  string `json:"path"`
	Mode  string `json:"mode,omitempty"` // octal; empty means 0755
	Owner string `json:"owner,omitempty"`
}

// Symlink makes a symbolic link, replacing a file or link that is there.
type Symlink struct {
	Path   string `json:"path"`
	Target string `json:"target"`
}

// Remove removes a file, or a directory with all it holds. What is not there is no error.
type Remove struct {
	Path string `json:"path"`
}

// Set changes the image's configuration as an instruction of the Dockerfile language does.
type Set struct {
	// Field is "env", "label", "user", "workdir", "entrypoint", "cmd", "expose", "volume", "healthcheck", "shell",
	// "stopsignal" or "onbuild".
	Field string `json:"field"`
	// Values are what the field takes: NAME=value for env and label, words for entrypoint, cmd and shell, one for user,
	// workdir and stopsignal, ports and paths for expose and volume, "NONE" or the words of the command for healthcheck,
	// the instruction's text for onbuild.
	Values []string `json:"values"`
}
