package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/builtin/credential/dockerconfig"
)

// executorLogin are the flags of `executor login`.
type executorLogin struct {
	kanikoLog
	user, password string
	fromStdin      bool
}

func (p program) executorLoginCommand() *cobra.Command {
	o := &executorLogin{}
	cmd := &cobra.Command{
		Use:   "login [flags] REGISTRY",
		Short: "Keep a credential for a registry in config.json of DOCKER_CONFIG",
		Long: `Keep a credential for a registry in config.json, in the directory that DOCKER_CONFIG names or else in
~/.docker, or in the credential store that the file names.`,
		Example: `  echo "$TOKEN" | executor login registry.example.com -u ci --password-stdin`,
		Args:    oneArgument("registry"),
		RunE:    func(cmd *cobra.Command, args []string) error { return p.executorLogin(cmd.Context(), o, args[0]) },
	}
	flags := cmd.Flags()
	o.kanikoLog.register(flags)
	flags.StringVarP(&o.user, "username", "u", "", "the user's `NAME`")
	flags.StringVarP(&o.password, "password", "p", "", "the password, which every process of the machine can see: better is --password-stdin")
	flags.BoolVar(&o.fromStdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

// maxPassword bounds what is read.
const maxPassword = 1 << 20

func (p program) executorLogin(ctx context.Context, o *executorLogin, registry string) error {
	if o.fromStdin {
		if o.password != "" {
			return usageError{errors.New("--password and --password-stdin are two ways to say the same: use one")}
		}
		text, err := io.ReadAll(io.LimitReader(p.stdin, maxPassword))
		if err != nil {
			return err
		}
		o.password = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	}
	if o.user == "" || o.password == "" {
		return usageError{errors.New("login needs --username and a password, by --password-stdin or --password")}
	}
	dir := p.getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return usageError{errors.New("there is no home directory: set DOCKER_CONFIG")}
		}
		dir = filepath.Join(home, ".docker")
	}
	return dockerconfig.Login{Dir: dir, Registry: registry, User: o.user, Secret: o.password, Environment: os.Environ()}.Store(ctx)
}
