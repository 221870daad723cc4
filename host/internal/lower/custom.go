package lower

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/plan"
	"github.com/trowel-build/trowel/sdk"
)

// Planner says what the use of an instruction does that a plugin gives. Before is the stage as far as the instructions
// above make it.
type Planner interface {
	Plan(ctx context.Context, call sdk.Call, before Before) (sdk.Plan, error)
}

// Before is a stage up to an instruction.
type Before struct {
	Stage   *plan.Stage
	Lowered *Lowered // its steps so far
}

// maxEffects bounds the effects of one use of an instruction.
const maxEffects = 1000

// custom lowers an instruction of a plugin.
func (l *lowering) custom(c *dockerfile.Custom, step *Step) error {
	call, err := l.call(c)
	if err != nil {
		return err
	}
	if l.ask == nil {
		return fmt.Errorf("nobody says what %s does", l.in.Keyword)
	}
	answer, err := l.ask(call, Before{Stage: l.stage, Lowered: &Lowered{
		BaseName: l.out.BaseName, Steps: slices.Clone(l.out.Steps), State: l.state(),
	}})
	if err != nil {
		return err
	}
	if err := CheckPlan(answer); err != nil {
		return err
	}
	index := l.index
	for i, x := range answer.Effects {
		if err := l.apply(c, x, step); err != nil {
			return fmt.Errorf("effect %d of the plugin: %w", i+1, err)
		}
	}
	l.index = index
	step.Name = l.numbered(l.expandedTitle())
	step.CreatedBy = l.in.Keyword + strings.TrimPrefix(c.String(), l.in.Keyword)
	step.Custom = &Custom{Call: call, Plan: answer}
	return nil
}

// CheckPlan says what is wrong with a plan whatever the instruction is.
func CheckPlan(p sdk.Plan) error {
	if len(p.Effects) > maxEffects {
		return fmt.Errorf("the plugin wants %d effects: at most %d make a step", len(p.Effects), maxEffects)
	}
	for i, x := range p.Effects {
		set := 0
		for _, is := range []bool{x.Exec != nil, x.Copy != nil, x.Write != nil, x.Mkdir != nil, x.Symlink != nil, x.Remove != nil, x.Set != nil} {
			if is {
				set++
			}
		}
		if set != 1 {
			return fmt.Errorf("effect %d of the plugin: %d things are set in it: it must be one", i+1, set)
		}
	}
	return nil
}

// call expands the words of an instruction.
func (l *lowering) call(c *dockerfile.Custom) (sdk.Call, error) {
	call := sdk.Call{
		Keyword: c.Instruction.Keyword, Env: l.vars.list(), Workdir: l.dir(), User: l.config.User, Shell: l.config.Shell,
		Platform: platforms.Format(l.stage.Platform), Stage: l.stage.Source.Name,
	}
	if len(call.Shell) == 0 {
		call.Shell = []string{"/bin/sh", "-c"}
	}
	var err error
	if call.Args, err = l.words(c.Args); err != nil {
		return call, err
	}
	for _, f := range c.Flags {
		if f.Value, err = l.word(f.Value); err != nil {
			return call, err
		}
		if i := slices.IndexFunc(c.Instruction.Flags, func(x sdk.Flag) bool { return x.Name == f.Name }); c.Instruction.Flags[i].Type == sdk.FlagNumber {
			if _, err := strconv.ParseInt(f.Value, 10, 54); err != nil {
				return call, l.fail(f.Name, fmt.Errorf("flag %q is a whole number, not %q", f.Name, f.Value), "")
			}
		}
		call.Flags = append(call.Flags, f)
	}
	for _, h := range c.Heredocs {
		content := h.Content
		if h.Expand {
			x, err := dockerfile.Heredoc(content, &l.vars)
			l.checkVariables(x)
			if err != nil {
				return call, l.fail(h.Name, err, "")
			}
			content = x.Value
		}
		call.Heredocs = append(call.Heredocs, sdk.Heredoc{Name: h.Name, Content: content})
	}
	return call, nil
}

// apply turns one effect of a plugin into those of the engine.
func (l *lowering) apply(c *dockerfile.Custom, x sdk.Effect, step *Step) error {
	var done effect.Effect
	var err error
	switch {
	case x.Exec != nil:
		done, err = l.customExec(*x.Exec)
	case x.Copy != nil:
		done, err = l.customCopy(c, *x.Copy)
	case x.Write != nil:
		done, err = l.customWrite(*x.Write)
	case x.Mkdir != nil:
		dir, fault := l.absolute(x.Mkdir.Path)
		done = effect.Mkdir{Path: dir, Mode: cmp.Or(x.Mkdir.Mode, "0755"), User: x.Mkdir.Owner}
		err = errors.Join(fault, octal(x.Mkdir.Mode), text(x.Mkdir.Owner))
	case x.Symlink != nil:
		at, fault := l.absolute(x.Symlink.Path)
		done, err = effect.Symlink{Path: at, Target: x.Symlink.Target}, errors.Join(fault, text(x.Symlink.Target))
	case x.Remove != nil:
		at, fault := l.absolute(x.Remove.Path)
		done, err = effect.Remove{Path: at}, fault
	case x.Set != nil:
		return l.customSet(*x.Set, step)
	}
	if err != nil {
		return err
	}
	step.Effects = append(step.Effects, done)
	step.Layer = OneLayer
	return nil
}

func (l *lowering) customExec(x sdk.Exec) (effect.Effect, error) {
	if len(x.Args) == 0 {
		return nil, errors.New("exec has nothing to run")
	}
	if err := text(slices.Concat(x.Args, x.Env, []string{x.Dir, x.User})...); err != nil {
		return nil, err
	}
	e := effect.Exec{Args: x.Args, Unkeyed: proxies(l.plan.BuildArgs), Dir: l.dir(), User: l.config.User, Network: effect.Network(x.Network)}
	if x.User != "" {
		e.User = x.User
	}
	if x.Dir != "" {
		e.Dir = path.Clean(destination(l.dir(), x.Dir))
	}
	switch e.Network {
	case "":
		e.Network = effect.NetworkDefault
	case effect.NetworkDefault, effect.NetworkHost, effect.NetworkNone:
	default:
		return nil, fmt.Errorf(`exec has the network %q: it is "default", "host" or "none"`, x.Network)
	}
	vars := l.vars.clone()
	for _, kv := range x.Env {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("exec has %q in its environment: it is NAME=value", kv)
		}
		vars.set(name, value)
	}
	e.Env = vars.list()
	return e, nil
}

func (l *lowering) customCopy(c *dockerfile.Custom, x sdk.Copy) (effect.Effect, error) {
	if err := errors.Join(text(slices.Concat(x.Sources, x.Exclude, []string{x.Dest, x.Owner})...), checkMode(x.Mode)); err != nil {
		return nil, err
	}
	if len(x.Sources) == 0 {
		return nil, errors.New("copy has no sources")
	}
	if x.Unpack && (x.From != "" || x.Parents) {
		return nil, errors.New("copy unpacks archives, and has from or parents: ADD, which unpacks, takes its files from the build context and has no --parents")
	}
	from := effect.Location{Context: effect.MainContext}
	if x.From != "" {
		// What a stage needs is planned before plugins are asked, and --from is what that goes by.
		if !slices.ContainsFunc(c.Flags, func(f sdk.FlagValue) bool { return f.Name == "from" && f.Value == x.From }) {
			return nil, fmt.Errorf("copy is from %q, which the instruction's own flag --from does not name", x.From)
		}
		from = l.stage.Sources[x.From]
	}
	e := effect.Copy{Dest: destination(l.dir(), x.Dest), Owner: x.Owner, Mode: x.Mode, Exclude: x.Exclude}
	if x.Parents {
		e.Layout = effect.LayoutParents
	}
	if linked(x) {
		e.Overlay = effect.OverlayLinked
	}
	source := effect.CopySource{From: from}
	if x.Unpack {
		source.Unpack = effect.UnpackAlways
	}
	for _, s := range x.Sources {
		if remote(s) != "" {
			return nil, fmt.Errorf("copy has the source %q: a %s cannot be copied", s, remote(s))
		}
		source.Paths = append(source.Paths, sourcePath(s, e.Layout))
	}
	e.Sources = []effect.CopySource{source}
	return e, nil
}

// linked says whether a copy can be linked: not with what COPY --link cannot have.
func linked(x sdk.Copy) bool { return x.Link && x.Mode == "" && !ownerByName(x.Owner) }

func (l *lowering) customWrite(x sdk.Write) (effect.Effect, error) {
	at, err := l.absolute(x.Path)
	if err := errors.Join(err, octal(x.Mode), text(x.Owner)); err != nil {
		return nil, err
	}
	dir := path.Dir(at)
	if dir != "/" {
		dir += "/"
	}
	return effect.Copy{
		Sources: []effect.CopySource{{Inline: []effect.File{{Name: path.Base(at), Content: string(x.Content)}}}},
		Dest:    dir, Owner: x.Owner, Mode: writeMode(x.Mode),
	}, nil
}

// writeMode is the --chmod of a file that is written: none where it has the mode of heredocs anyway, and else a symbolic one,
// since an octal one would hold for the directories above that have to be made.
func writeMode(mode string) string {
	bits, err := strconv.ParseUint(mode, 8, 12)
	if err != nil || bits == 0o644 {
		return ""
	}
	var who []string
	for i, name := range []string{"u", "g", "o"} {
		text := name + "="
		for _, bit := range []struct {
			is     uint64
			letter string
		}{{0o400 >> (3 * i), "r"}, {0o200 >> (3 * i), "w"}, {0o100 >> (3 * i), "x"}, {0o4000 >> i & 0o6000, "s"}} {
			if bits&bit.is != 0 {
				text += bit.letter
			}
		}
		who = append(who, text)
	}
	if bits&0o1000 != 0 {
		who = append(who, "+t")
	}
	return strings.Join(who, ",")
}

// absolute is a path of a plugin in the stage.
func (l *lowering) absolute(p string) (string, error) {
	if p == "" {
		return "", errors.New("a path is empty")
	}
	clean := path.Clean(destination(l.dir(), p))
	if clean == "/" {
		return "", fmt.Errorf("path %q is the root directory", p)
	}
	return clean, text(p)
}

// text refuses what neither a path nor an argument can hold.
func text(words ...string) error {
	for _, w := range words {
		if strings.ContainsRune(w, 0) {
			return fmt.Errorf("%q has a NUL byte", w)
		}
	}
	return nil
}

func octal(mode string) error {
	if mode == "" {
		return nil
	}
	if n, err := strconv.ParseUint(mode, 8, 32); err != nil || n > 0o7777 {
		return fmt.Errorf("mode %q is no octal number up to 07777", mode)
	}
	return nil
}
