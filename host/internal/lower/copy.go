package lower

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/gitref"
)

// copySpec is what COPY and ADD have in common, expanded.
type copySpec struct {
	keyword string
	from    effect.Location
	sources []string
	inline  []effect.File
	dest    string
	chown   string
	chmod   string
	exclude []string
	overlay effect.Overlay
	layout  effect.Layout
	// unpack is of local files. remotes are the sources that are not local, by their words.
	unpack  effect.Unpack
	remotes map[string]effect.CopySource
}

// copy lowers COPY.
func (l *lowering) copy(c *dockerfile.Copy, step *Step) error {
	s := copySpec{keyword: "COPY", from: effect.Location{Context: effect.MainContext}, exclude: c.ExcludePatterns}
	if c.From != "" {
		from, ok := l.stage.Sources[c.From]
		if !ok {
			return l.fail(c.From, fmt.Errorf("--from=%s was not planned", c.From), "")
		}
		s.from = from
	}
	if c.Parents {
		s.layout = effect.LayoutParents
	}
	if err := l.expandCopy(&s, c.SourcesAndDest, c.Chown, c.Chmod); err != nil {
		return err
	}
	if c.Link {
		s.overlay = effect.OverlayLinked
	}
	for _, src := range s.sources {
		if remote(src) != "" {
			return l.fail(src, fmt.Errorf("source %q: a %s cannot be copied", src, remote(src)), "use ADD")
		}
	}
	return l.finishCopy(s, step)
}

// expandCopy expands the words of COPY and ADD, all with the same variables.
func (l *lowering) expandCopy(s *copySpec, in dockerfile.Sources, chown, chmod string) (err error) {
	if s.chown, err = l.word(chown); err != nil {
		return err
	}
	if s.chmod, err = l.word(chmod); err != nil {
		return err
	}
	if s.sources, err = l.words(in.SourcePaths); err != nil {
		return err
	}
	if s.dest, err = l.word(in.DestPath); err != nil {
		return err
	}
	for i, src := range s.sources {
		if src == "" {
			l.warnings = append(l.warnings, dockerfile.Warning{
				Position: l.in.Position, Line: l.in.Position.First,
				Text: fmt.Sprintf("Source %q of %s is empty, which means all files", in.SourcePaths[i], s.keyword),
			})
		}
	}
	for _, content := range in.SourceContents {
		text := content.Data
		if content.Expand {
			x, err := dockerfile.Heredoc(text, &l.vars)
			l.checkVariables(x)
			if err != nil {
				return l.fail(content.Path, err, "")
			}
			text = x.Value
		}
		name, err := l.heredocName(content.Path)
		if err != nil {
			return err
		}
		s.inline = append(s.inline, effect.File{Name: name, Content: text})
	}
	return nil
}

// finishCopy makes the effect of COPY and ADD.
func (l *lowering) finishCopy(s copySpec, step *Step) error {
	l.checkIgnored(&s)
	if err := checkMode(s.chmod); err != nil {
		return l.fail("--chmod", err, "")
	}
	if s.overlay == effect.OverlayLinked && ownerByName(s.chown) {
		return l.fail("--chown", fmt.Errorf("--chown=%s: names cannot be looked up with --link", s.chown), "use numbers, as in --chown=1000:1000")
	}
	if s.chmod != "" {
		// As in BuildKit, whose way to link cannot set modes.
		s.overlay = effect.OverlayMerge
	}
	c := effect.Copy{
		Dest: destination(l.dir(), s.dest), Owner: s.chown, Mode: s.chmod, Exclude: s.exclude,
		Layout: s.layout, Overlay: s.overlay,
	}
	for _, src := range s.sources {
		if elsewhere, ok := s.remotes[src]; ok {
			c.Sources = append(c.Sources, elsewhere)
			continue
		}
		if last := len(c.Sources) - 1; last < 0 || c.Sources[last].From != s.from {
			c.Sources = append(c.Sources, effect.CopySource{From: s.from, Unpack: s.unpack})
		}
		local := &c.Sources[len(c.Sources)-1]
		local.Paths = append(local.Paths, sourcePath(src, s.layout))
	}
	if len(s.inline) > 0 {
		c.Sources = append(c.Sources, effect.CopySource{Inline: s.inline})
	}
	step.Name = gitref.Redact(l.numbered(l.expandedTitle()))
	step.Effects = []effect.Effect{c}
	step.CreatedBy = gitref.Redact(s.history()) // CVE-2023-26054
	step.Layer = OneLayer
	return nil
}

// history is the text of the history entry.
func (s *copySpec) history() string {
	words := []string{s.keyword}
	if s.layout == effect.LayoutParents {
		words = append(words, "--parents")
	}
	if s.chown != "" {
		words = append(words, "--chown="+s.chown)
	}
	if s.chmod != "" {
		words = append(words, "--chmod="+s.chmod)
	}
	words = append(words, s.sources...)
	for _, f := range s.inline {
		words = append(words, "<<"+f.Name)
	}
	return strings.Join(append(words, s.dest, "# buildkit"), " ")
}

// destination is a destination as an absolute path. That it names a directory, said by a slash at its end or by ".",
// stays told by a slash.
func destination(dir, word string) string {
	named := word == "" || word == "." || strings.HasSuffix(word, "/") || strings.HasSuffix(word, "/.")
	if !path.IsAbs(word) {
		word = path.Join(dir, word)
	}
	word = path.Clean(word)
	if named && word != "/" {
		word += "/"
	}
	return word
}

// sourcePath is a source as a clean path below the root it is copied from, "." being the root: "../x" leads nowhere else
// than "x". With --parents the pivot "/./" stays.
func sourcePath(word string, layout effect.Layout) string {
	if layout == effect.LayoutParents {
		if parent, rest, ok := strings.Cut(word, "/./"); ok {
			return below(parent) + "/./" + below(rest)
		}
	}
	return below(word)
}

func below(word string) string {
	if p := path.Clean("/" + word)[1:]; p != "" {
		return p
	}
	return "."
}

var symbolic = regexp.MustCompile(`^[ugoa]*([-+=][rwxXstugo]*)+(,[ugoa]*([-+=][rwxXstugo]*)+)*$`)

// checkMode accepts an octal mode up to 07777 and what chmod(1) accepts as a symbolic one.
func checkMode(mode string) error {
	if mode == "" || symbolic.MatchString(mode) {
		return nil
	}
	if n, err := strconv.ParseUint(mode, 8, 32); err != nil || n > 0o7777 {
		return fmt.Errorf("--chmod=%s is neither an octal mode up to 07777 nor a symbolic one such as u=rwX,go=rX", mode)
	}
	return nil
}

// ownerByName reports whether an owner has to be looked up in the image's /etc/passwd or /etc/group.
func ownerByName(owner string) bool {
	user, group, _ := strings.Cut(owner, ":")
	for _, name := range []string{user, group} {
		if name == "" || name == "root" {
			continue
		}
		if _, err := strconv.ParseInt(name, 10, 32); err != nil {
			return true
		}
	}
	return false
}
