package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trowel-build/trowel/host"
)

// The files of kaniko's command line:
//
//	kaniko.go             what its programs have in common: names, flags without a meaning, the log
//	executor_flags.go     the executor's flags               executor_environment.go  and variables
//	executor_request.go   flags → what the engine is asked
//	executor_context.go   --context, --dockerfile            executor_registry.go     registries
//	executor_cache.go     --cache and its kin                executor_credentials.go  who is asked for credentials
//	executor_report.go    the files that say what was built  executor_login.go, executor_push.go  sub-commands
//	warmer.go             the other program

func (p program) executorCommand() *cobra.Command {
	o := &executorFlags{}
	cmd := &cobra.Command{
		Use:   nameExecutor + " [flags]",
		Short: "Build an image as kaniko's executor does, with its flags",
		Long: `Build an image and push it, with the flags, variables and paths of kaniko's executor. Called by the
name executor, this program is that command: a job that runs /kaniko/executor need not change.

What the flags ask for is done as BuildKit does it where kaniko does otherwise; examples/kaniko/README.md
lists both. The exit code of a RUN that fails is this command's own.`,
		Example: `  executor --context dir:///workspace --destination registry.example.com/app:1 --cache
  tar cz . | executor --context tar://stdin --destination registry.example.com/app:1`,
		Args: kanikoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.execute(cmd.Context(), o) },
	}
	o.register(cmd.Flags())
	cmd.AddCommand(p.executorPushCommand(), p.executorLoginCommand(), p.versionCommand())
	return cmd
}

// execute builds what the flags and the environment ask for.
func (p program) execute(ctx context.Context, o *executorFlags) error {
	if err := o.kanikoLog.check(); err != nil {
		return err
	}
	p.stderr = o.log(p.stderr)
	said, err := o.readEnvironment(p.environ())
	if err != nil {
		return err
	}
	job, err := p.executorJob(o)
	if err != nil {
		return err
	}
	var result host.Result
	done, err := p.perform(ctx, job.flags, job.settings, job.request, func(r host.Request) (err error) {
		r.Progress = o.reporter(r.Progress, append(said, job.said...))
		if o.dryrun {
			return p.dryRun(ctx, r)
		}
		result, err = host.Build(ctx, r)
		return err
	})
	err = errors.Join(err, job.close())
	if code, ok := host.ExitCode(err); ok {
		return failedRun{err, code}
	}
	if err != nil || done == inNamespace || o.dryrun {
		return inKanikosWords(err)
	}
	pushed := p.getenv("BUILDER_OUTPUT")
	if o.noPush {
		pushed = ""
	}
	return errors.Join(o.destinationFlags.report(ctx, result, pushed), p.printDigest(result))
}

func (p program) printDigest(result host.Result) error {
	_, err := io.WriteString(p.stdout, result.Digest+"\n")
	return err
}

// dryRun prints the Dockerfile as it would be built.
func (p program) dryRun(ctx context.Context, r host.Request) error {
	text, err := host.Expand(ctx, r)
	if err == nil {
		_, err = io.WriteString(p.stdout, host.Printable(text))
	}
	return err
}

// log is where the log goes, in the form that the flags ask for.
func (l *kanikoLog) log(to io.Writer) io.Writer {
	if !l.timestamp || l.format == "json" { // which has the time in each object
		return to
	}
	return &timestamped{to: to, now: func() string { return time.Now().Format(time.RFC3339) }}
}

// reporter is the one that shows as much as the flags ask for. It is told first what there is to say of the flags.
func (l *kanikoLog) reporter(to host.Reporter, said []remark) host.Reporter {
	if l.quiet() {
		to = warningsAlone{to}
	}
	for _, s := range said {
		to.Report(host.Event{Time: time.Now(), Kind: "message", Level: s.level, Text: s.text})
	}
	return to
}

// remark is something to be said of the flags and the environment.
type remark struct{ level, text string }

func inform(format string, args ...any) remark { return remark{"info", fmt.Sprintf(format, args...)} }

func warn(format string, args ...any) remark { return remark{"warning", fmt.Sprintf(format, args...)} }

// warningsAlone passes nothing on but warnings.
type warningsAlone struct{ to host.Reporter }

// Report passes a warning on.
func (w warningsAlone) Report(e host.Event) {
	if e.Kind == "message" && strings.HasPrefix(e.Level, "warn") {
		w.to.Report(e)
	}
}
