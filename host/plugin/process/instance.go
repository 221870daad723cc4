package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
	"github.com/trowel-build/trowel/sdk/process/wire"
)

// instance is one life of a plugin: a process, or a connection to one that the user started.
type instance struct {
	session *session
	hello   []byte // its first answer

	group      *group // nil if it is the user's
	disconnect func()
}

// launch starts a process and brings it to its first answer.
func launch(ctx context.Context, o *Options, program *program, dir string) (*instance, error) {
	g := &group{
		name: o.Name, program: program, env: o.Env, exited: make(chan struct{}),
		memory: memoryLimit{bytes: o.Limits.Memory}, stderr: &lines{log: o.Services.Log},
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limits.Start, timeoutError("the plugin did not serve within", o.Limits.Start))
	defer cancel()
	client := goplugin.NewClient(clientConfig(g, o.Limits.Start, dir))
	i := &instance{group: g, disconnect: client.Kill}
	unwatch := context.AfterFunc(ctx, g.kill) // all waiting ends with the process
	err := i.greet(ctx, client, o)
	if !unwatch() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		i.close(killed)
		return nil, g.startError(ctx, err)
	}
	return i, nil
}

// clientConfig is what go-plugin is told.
func clientConfig(g *group, start time.Duration, dir string) *goplugin.ClientConfig {
	return &goplugin.ClientConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{ProtocolVersion: abi.Version, MagicCookieKey: wire.CookieName, MagicCookieValue: wire.CookieValue},
		Plugins:          goplugin.PluginSet{pluginName: bridge{}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     start + grace, // the instance has its own
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Off}),
		Stderr:           g.stderr,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: dir},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, socketDir string) (runner.Runner, error) {
			g.dir = socketDir
			g.prepare(cmd.Env)
			return g, nil
		},
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithInitialWindowSize(2 * wire.Window), grpc.WithInitialConnWindowSize(2 * wire.Window),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxFrame)),
		},
	}
}

// pluginName is the name under which go-plugin dispenses the one thing that a plugin serves.
const pluginName = "trowel"

// bridge has go-plugin hand out its connection.
type bridge struct {
	goplugin.NetRPCUnsupportedPlugin
}

// GRPCServer implements goplugin.GRPCPlugin.
func (bridge) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this is the host's side")
}

// GRPCClient implements goplugin.GRPCPlugin.
func (bridge) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

// greet connects, opens the session and asks for the first answer.
func (i *instance) greet(ctx context.Context, client *goplugin.Client, o *Options) error {
	protocol, err := client.Client()
	if err != nil {
		return err
	}
	dispensed, err := protocol.Dispense(pluginName)
	if err != nil {
		return err
	}
	conn, _ := dispensed.(*grpc.ClientConn)
	return i.open(ctx, conn, o.Hello, o.Services)
}

func (i *instance) open(ctx context.Context, conn *grpc.ClientConn, hello []byte, services transport.Services) (err error) {
	if i.session, err = openSession(ctx, conn, services); err != nil {
		return err
	}
	i.hello, err = i.session.call(ctx, abi.OpHello, hello, nil)
	return err
}

// ending says how an instance is ended.
type ending int

const (
	killed ending = iota
	asked         // to exit, and killed if it does not
)

// close ends the instance. Nothing of it is left then.
func (i *instance) close(how ending) {
	if i.group == nil {
		i.session.close()
		i.disconnect()
		return
	}
	if how == asked {
		defer time.AfterFunc(grace, i.group.kill).Stop()
	} else {
		i.group.kill()
	}
	i.disconnect()
	i.group.kill()
	if i.group.wasStarted() {
		<-i.group.exited
	}
	i.group.closePipes()
	if i.session != nil {
		i.session.close()
	}
}

// crashed is the error of calls that were in progress when the instance ended. It was closed before.
func (i *instance) crashed() *sdk.Error {
	if i.group == nil {
		return &sdk.Error{Code: sdk.CodeCrashed, Message: "the plugin that was attached to ended its session: " + i.session.err.Error()}
	}
	if problem := i.group.memory.problem(); problem != nil {
		return problem
	}
	message := "the plugin ended in the call: " + i.group.status
	if i.group.status == "signal: killed" {
		message = "the plugin ended its session or was killed in the call: " + i.session.err.Error()
	}
	return &sdk.Error{Code: sdk.CodeCrashed, Message: message, Retryable: true, Detail: i.group.stderr.last()}
}

// startError says why a plugin did not start. Its process has ended.
func (g *group) startError(ctx context.Context, err error) error {
	detail := g.stderr.last()
	problem := g.greetingError()
	if problem == nil {
		problem = g.memory.problem()
	}
	switch {
	case problem != nil:
	case ctx.Err() != nil:
		problem = causeError(ctx)
	case errors.Is(err, fs.ErrPermission), !g.wasStarted():
		return err
	default:
		problem = &sdk.Error{Code: sdk.CodeCrashed, Message: fmt.Sprintf("the plugin did not serve: %v", err)}
		if g.status != "signal: killed" {
			problem.Message = "the plugin ended before it served: " + g.status
		}
	}
	told := *problem
	told.Detail = detail
	return &told
}

func (g *group) greetingError() *sdk.Error {
	if g.stdout == nil {
		return nil
	}
	problem, _ := errors.AsType[*sdk.Error](g.stdout.err())
	return problem
}

func timeoutError(what string, after time.Duration) *sdk.Error {
	return &sdk.Error{Code: sdk.CodeTimeout, Message: fmt.Sprintf("%s %s", what, after)}
}
