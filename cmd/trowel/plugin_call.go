package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/plugin/author"
	"github.com/trowel-build/trowel/host/plugin/lock"
	"github.com/trowel-build/trowel/host/plugin/manifest"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

// callFlags are the flags of plugin call.
type callFlags struct {
	pluginFlags
	attach, configJSON, context, body string
	hosts, env                        []string
	trace                             bool
}

func (p program) pluginCallCommand() *cobra.Command {
	f := &callFlags{}
	cmd := &cobra.Command{
		Use:   "call [flags] NAME|FILE|DIR OPERATION [JSON]",
		Short: "Ask a plugin one operation",
		Long: `Ask a plugin one operation, and print its answer. A plugin that trowel.toml names has what trowel.toml grants and
configures; a file or the directory of a project has what the flags say, and the configuration that plugin.toml has for tests.

Operations: hello; describe, plan; credential; get-records, put-records, stat-blobs, get-blob, put-blob, plan-put, finish-put.
In the request {"$text": "..."} stands for the base64 of a text, as in tests/*.json.`,
		Example: `  trowel plugin call greet plan '{"keyword":"GREET","args":["world","/hi"],"workdir":"/","platform":"linux/amd64"}'
  trowel plugin call ./vault.wasm credential '{"registry":"registry.example.com","reason":"initial"}' --trace`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 || len(args) > 3 {
				return usageError{fmt.Errorf("trowel plugin call takes a plugin, an operation and the request's JSON, and got %d arguments", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.callPlugin(cmd.Context(), f, args) },
	}
	f.register(cmd.Flags())
	flags := cmd.Flags()
	flags.StringVar(&f.attach, "attach", "", "ask the process that serves at this `SOCKET`: see TROWEL_PLUGIN_SERVE in sdk/README.md")
	flags.StringVar(&f.configJSON, "plugin-config", "", "the plugin's configuration, as `JSON`")
	flags.StringArrayVar(&f.hosts, "allow-host", nil, "grant requests to this `HOST`, as in allow.hosts; may be repeated")
	flags.StringArrayVar(&f.env, "allow-env", nil, "grant this environment `VARIABLE`; may be repeated")
	flags.StringVar(&f.context, "context", "", "let an instruction read the files of this `DIR` as the build context")
	flags.StringVar(&f.body, "body", "", "the content of put-blob: a `FILE`, or - for standard input")
	flags.BoolVar(&f.trace, "trace", false, "show what the plugin asks of the host, how long it takes and how much memory it has")
	return cmd
}

func (p program) callPlugin(ctx context.Context, f *callFlags, args []string) (err error) {
	r, err := p.callRequest(ctx, f, args[0])
	if err != nil {
		return err
	}
	if r.Op, err = author.ParseOp(args[1]); err != nil {
		return usageError{err}
	}
	text := ""
	if len(args) > 2 {
		text = args[2]
	}
	if r.Request, err = author.ExpandText([]byte(text)); err != nil {
		return usageError{fmt.Errorf("the request is no JSON: %w", err)}
	}
	closeFiles, err := p.callFiles(f, &r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeFiles()) }()
	if f.trace {
		r.Trace = p.printHostCall
	}
	result, err := author.Call(ctx, r)
	if f.trace && result.Took > 0 {
		fmt.Fprintf(p.stderr, "start %s, call %s, memory %.1f MiB\n", milliseconds(result.Start), milliseconds(result.Took), float64(result.Memory)/(1<<20))
	}
	if err != nil {
		return adviseOn(fmt.Errorf("%s of plugin %q: %w", args[1], r.Subject.Name, err))
	}
	if result.Blob.Digest != "" {
		fmt.Fprintf(p.stderr, "the plugin wrote %d bytes, %s\n", result.Blob.Size, result.Blob.Digest)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, result.Answer, "", "  "); err != nil {
		return fmt.Errorf("the plugin's answer is no JSON: %w", err)
	}
	_, err = fmt.Fprintln(p.stdout, host.Printable(out.String()))
	return err
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// callRequest finds the plugin: one of trowel.toml by its name, or else a file or a directory.
func (p program) callRequest(ctx context.Context, f *callFlags, what string) (author.CallRequest, error) {
	r := author.CallRequest{Getenv: p.getenv, Log: p.pluginLog(sdk.LevelInfo)}
	if f.trace {
		r.Log = p.pluginLog(sdk.LevelDebug)
	}
	settings, err := p.loadConfig(&f.buildFlags)
	if err != nil {
		return r, usageError{err}
	}
	r.CompileDir = compileDir(&f.buildFlags, settings)
	if spec, ok := settings.Plugins[what]; ok {
		if f.configJSON != "" || len(f.hosts)+len(f.env) > 0 {
			return r, usageError{fmt.Errorf("plugin %q is configured by trowel.toml: --plugin-config, --allow-host and --allow-env are for files", what)}
		}
		r.Config, r.Grants = spec.Config, spec.Allow
		r.Subject = &author.Subject{Name: what, Kind: spec.Kind, Attach: f.attach}
		return r, p.withPlugins(&f.pluginFlags, func(s *pluginSession) error {
			found, err := s.client.Resolve(ctx, s.request(what), s.locked, lock.Open)
			if err != nil {
				return err
			}
			r.Subject.Program = found.Bytes
			r.Subject.Platform, err = manifest.Identify(found.Bytes)
			return err
		})
	}
	if r.Subject, err = openSubject(what, f.attach); err != nil {
		return r, err
	}
	r.Config, r.Grants = r.Subject.Test.Config, service.Grants{Hosts: f.hosts, Env: f.env}
	if f.configJSON != "" {
		if r.Config, err = author.ParseConfig([]byte(f.configJSON)); err != nil {
			return r, usageError{fmt.Errorf("--plugin-config: %w", err)}
		}
	}
	return r, nil
}

// callFiles opens what the plugin reads.
func (p program) callFiles(f *callFlags, r *author.CallRequest) (func() error, error) {
	var open []io.Closer
	if f.context != "" {
		root, err := os.OpenRoot(f.context)
		if err != nil {
			return nil, err
		}
		open = append(open, root)
		r.Files = author.Directory(root)
	}
	switch f.body {
	case "":
	case "-":
		r.Body = p.stdin
	default:
		file, err := os.Open(f.body)
		if err != nil {
			return nil, err
		}
		open = append(open, file)
		r.Body = file
	}
	return func() error {
		var errs []error
		for _, o := range open {
			errs = append(errs, o.Close())
		}
		return errors.Join(errs...)
	}, nil
}

func (p program) printHostCall(c author.HostCall) {
	const most = 1000
	answer := fmt.Sprintf("%d bytes", c.Answer)
	if c.Err != nil {
		answer = c.Err.Error()
	}
	fmt.Fprintf(p.stderr, "host %-9s %9s  %s -> %s\n", c.Op, milliseconds(c.Took), oneLine(string(c.Request[:min(len(c.Request), most)])), oneLine(answer))
}
