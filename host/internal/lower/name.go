package lower

import (
	"fmt"
	"math"
	"path"
	"strings"

	"github.com/containerd/platforms"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/image"
)

// start brings the state that was handed on to where the first instruction finds it.
func (l *lowering) start() {
	// The triggers of the base have been planned as instructions of this stage.
	l.config.OnBuild = nil
	if !hasEnv(l.config.Env, "PATH") {
		l.config.Env = append(l.config.Env, "PATH="+image.DefaultPath)
	}
	// ENV of the base is set anew over ARG of a stage: a name that was both is ENV's again.
	for _, kv := range l.config.Env {
		name, value, _ := strings.Cut(kv, "=")
		l.vars.set(name, value)
	}
	if dir := l.config.WorkingDir; dir != "" && !path.IsAbs(dir) {
		l.config.WorkingDir = path.Join("/", dir)
	}
	l.total = l.countSteps()
}

// countSteps is the number of steps as BuildKit counts them: the base unless it is a stage or scratch, what can make a
// layer, and all triggers whatever they are.
func (l *lowering) countSteps() int {
	total := len(l.stage.Triggers)
	if l.stage.Base.Image != "" || l.stage.Base.Context != "" {
		total++
	}
	for _, in := range l.stage.Instructions {
		switch in.Command.(type) {
		case *dockerfile.Add, *dockerfile.Copy, *dockerfile.Run, *dockerfile.Workdir, *dockerfile.Custom:
			total++
		}
	}
	return total
}

// numbered puts the stage and the step's number before a title.
func (l *lowering) numbered(title string) string {
	label := l.stage.Label
	if l.plan.Scope != "" {
		label = strings.TrimSpace(l.platform() + " " + label)
	}
	if label != "" {
		label += " "
	}
	l.index++
	width := 1 + int(math.Log10(float64(max(1, l.total))))
	return fmt.Sprintf("[%s%*d/%d] %s", label, width, l.index, l.total, title)
}

// platform is that of the stage and, where the stage knows what it builds for and that is another, an arrow to it.
func (l *lowering) platform() string {
	own, target := platforms.FormatAll(l.stage.Platform), platforms.FormatAll(l.plan.Platform)
	for _, name := range []string{"TARGETPLATFORM", "TARGETARCH", "TARGETVARIANT"} {
		if _, known := l.vars.Get(name); known && own != target {
			return own + "->" + strings.TrimPrefix(target, l.stage.Platform.OS+"/")
		}
	}
	return own
}

// title is an instruction's text with its keyword in capitals.
func (l *lowering) title(text string) string {
	keyword, rest, _ := strings.Cut(text, " ")
	text = strings.ToUpper(keyword)
	if rest != "" {
		text += " " + rest
	}
	if l.in.Trigger != "" {
		return "ONBUILD " + text
	}
	return text
}

// expandedTitle is [lowering.title] with variables expanded and quotes removed, where that is possible.
func (l *lowering) expandedTitle() string {
	text := l.in.Text()
	if out, err := l.lex.Word(text, &l.vars); err == nil {
		text = out
	}
	return l.title(text)
}
