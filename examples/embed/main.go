// Command embed is an image builder of its own: Trowel's engine with a cache and an instruction that are compiled in.
// The README runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/sdk"
)

func main() {
	launcher := host.NewLauncher() // first: a process of RUN starts as another run of this program
	code := 0
	if err := run(launcher, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		code = 1
	}
	os.Exit(code)
}

func run(launcher *host.Launcher, args []string) (err error) {
	flags := flag.NewFlagSet("embed", flag.ContinueOnError)
	dir := flags.String("context", ".", "build this `directory`")
	output := flags.String("o", "", "where the image goes, as buildx's --output has it")
	store := flags.String("cache", "cache.d", "keep what was built in this `directory`")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	progress, err := host.NewProgress("plain", os.Stderr, os.Getenv)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, progress.Close()) }()
	cache, err := openDirectory(*store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cache.root.Close()) }()
	request := host.Request{
		Context:  *dir,
		Caches:   []host.Cache{{Name: "directory", Backend: cache}},
		Launcher: launcher,
		Progress: progress,
		// The identity stands for all that decides what the handler answers: change it with the code below.
		Instructions: []host.Instructions{{Name: "motd", Handler: motd{}, Identity: "motd 1"}},
	}
	if *output != "" {
		request.Outputs = []string{*output}
	}
	result, err := host.Build(ctx, request)
	if errors.Is(err, host.ErrNeedsUserNamespace) { // RUN by an ordinary user: once more, in a user namespace
		code, err := launcher.EnterUserNamespace(ctx, args)
		if err == nil && code != 0 {
			err = fmt.Errorf("exit status %d", code)
		}
		return err
	}
	if err != nil {
		return err
	}
	fmt.Println(result.Digest)
	return nil
}

// motd is the instruction MOTD, whose words become /etc/motd.
type motd struct{}

// Describe says what instructions there are.
func (motd) Describe(context.Context) ([]sdk.Instruction, error) {
	return []sdk.Instruction{{Keyword: "MOTD", Summary: "write the message of the day", Usage: "FILE", MinArgs: 1}}, nil
}

// Plan reads a file of the context, which makes it an input of the step, and writes what it says.
func (motd) Plan(ctx context.Context, call sdk.Call) (sdk.Plan, error) {
	text, err := sdk.ReadFile(ctx, sdk.RootContext, call.Args[0])
	if err != nil {
		return sdk.Plan{}, err
	}
	text = append([]byte("*** Message of the day ***\n"), text...)
	return sdk.Plan{Effects: []sdk.Effect{{Write: &sdk.Write{Path: "/etc/motd", Content: text}}}}, nil
}
