package lower

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/trowel-build/trowel/sdk"
)

// script are statements of sh(1), each of which must succeed.
type script []string

// asRoot runs a script, whoever the user is: effects on files do not ask.
func (s *standard) asRoot(scripts ...script) {
	var lines []string
	for _, x := range scripts {
		text := strings.Join(x, "; ")
		if strings.Contains(text, "; ") { // several commands
			text = "set -e; " + text
		}
		// Not the shell form: SHELL may have set what is no shell, and a name may have a line break.
		lines = append(lines, "RUN "+s.list("/bin/sh", "-c", text))
	}
	if !isRoot(s.call.User) {
		lines = append(append([]string{"USER root"}, lines...), "USER "+s.word("USER", s.call.User))
	}
	s.add(lines...)
}

// isRoot says whether a process of the user makes files of root and its group.
func isRoot(user string) bool {
	name, group, _ := strings.Cut(user, ":")
	zero := []string{"", "0", "root"}
	return slices.Contains(zero, name) && slices.Contains(zero, group)
}

// chown is an owner as chown(1) takes it: a number alone is user and group, a name alone the user and its group.
func chown(owner string) string {
	user, group, _ := strings.Cut(owner, ":")
	if user == "" || user == "root" {
		user = "0"
	}
	if _, err := strconv.ParseUint(user, 10, 32); err == nil && group == "" {
		group = user
	}
	if group == "root" {
		group = "0"
	}
	return user + ":" + group
}

// makeDirectory makes a directory and what is missing above it, as [filecopy.Mkdir] does: what is there stays as it is. Modes
// have five digits, by which chmod(1) takes the bits off that a directory has from the one above it.
func makeDirectory(dir, mode, owner string) script {
	var above []string
	for at := path.Dir(dir); at != "/"; at = path.Dir(at) {
		above = append([]string{quoted(at)}, above...)
	}
	missing := func(word, mode string) string {
		text := "[ -d " + word + " ] || { mkdir " + word + "; "
		if owner != "" {
			text += "chown " + quoted(chown(owner)) + " " + word + "; "
		}
		return text + "chmod " + mode + " " + word + "; }"
	}
	const usual = "00755"
	last := usual
	if mode != "" {
		bits, _ := strconv.ParseUint(mode, 8, 32) // lowering saw that it is one
		last = fmt.Sprintf("%05o", bits)
	}
	switch {
	case dir == "/":
		return nil
	case len(above) > 0 && last == usual:
		return script{"for d in " + strings.Join(append(above, quoted(dir)), " ") + "; do " + missing(`"$d"`, usual) + "; done"}
	case len(above) > 1:
		return script{"for d in " + strings.Join(above, " ") + "; do " + missing(`"$d"`, usual) + "; done", missing(quoted(dir), last)}
	case len(above) == 1:
		return script{missing(above[0], usual), missing(quoted(dir), last)}
	}
	return script{missing(quoted(dir), last)}
}

func (s *standard) mkdir(x sdk.Mkdir) {
	s.asRoot(append(script{}, makeDirectory(s.absolute(x.Path), x.Mode, x.Owner)...))
}

func (s *standard) symlink(x sdk.Symlink) {
	at, target := s.absolute(x.Path), quoted(x.Target)
	if strings.HasPrefix(x.Target, "-") {
		target = "-- " + target
	}
	s.asRoot(append(makeDirectory(path.Dir(at), "", ""),
		"rm -f "+quoted(at), "ln -s "+target+" "+quoted(at), "chown -h 0:0 "+quoted(at)))
}

const (
	maxLine    = 60 << 10 // of a heredoc: one of the parser's is a little longer
	maxPrinted = 10 << 10 // bytes that a line prints: each takes up to five
)

// heredocWord is a word that a heredoc can have for its name.
var heredocWord = regexp.MustCompile(`^[A-Za-z0-9._@+,~][A-Za-z0-9._@+,~-]*$`)

// write is a heredoc that has the file's own name: COPY to its directory replaces a symbolic link of that name, which COPY to
// the name itself would follow.
func (s *standard) write(x sdk.Write) {
	at := path.Clean(x.Path)
	dir, name := path.Split(at)
	if dir == "" {
		dir = "./"
	}
	content := string(x.Content)
	if !heredocWord.MatchString(name) || strings.ContainsAny(dir, " \t\v\f\r\n'\"") || !holdsHeredoc(name, content) {
		s.print(x)
		return
	}
	words := []string{"COPY"}
	if symbolic := writeMode(x.Mode); symbolic != "" {
		words = append(words, "--chmod="+symbolic)
	}
	if x.Owner != "" {
		words = append(words, s.expandedFlag("chown", x.Owner))
	}
	// The name is quoted, so nothing in the text is expanded.
	s.add(strings.Join(append(words, "<<'"+name+"'", s.word("the directory", dir)), " ") + "\n" + content + name)
}

// holdsHeredoc says whether a heredoc can have this content: whole lines of text, none of 64 KiB or more, and none that would
// end it.
func holdsHeredoc(name, content string) bool {
	return utf8.ValidString(content) && !strings.ContainsAny(content, "\x00\r") &&
		(content == "" || strings.HasSuffix(content, "\n")) && !strings.Contains("\n"+content, "\n"+name+"\n") &&
		!slices.ContainsFunc(strings.Split(content, "\n"), func(line string) bool { return len(line) > maxLine })
}

// print writes a file with printf(1), which can write anything.
func (s *standard) print(x sdk.Write) {
	at := s.absolute(x.Path)
	file := quoted(at)
	owner, mode := x.Owner, x.Mode
	if owner == "" {
		owner = "0:0"
	}
	if mode == "" {
		mode = "0644"
	}
	line := append(makeDirectory(path.Dir(at), "", x.Owner), "rm -f "+file)
	if len(x.Content) == 0 {
		line = append(line, ": > "+file)
	}
	var lines []script
	redirect := " > "
	for part := range slices.Chunk(x.Content, maxPrinted) {
		if redirect == " >> " {
			lines, line = append(lines, line), nil
		}
		line = append(line, "printf '"+octalEscapes(part)+"'"+redirect+file)
		redirect = " >> "
	}
	line = append(line, "chown "+quoted(chown(owner))+" "+file, "chmod "+mode+" "+file)
	s.asRoot(append(lines, line)...)
}

// octalEscapes is content as printf(1) takes it.
func octalEscapes(content []byte) string {
	var b strings.Builder
	for _, c := range content {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune(" .,:;/=_+(){}[]<>@#!?|&*~^", rune(c)) {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, `\%03o`, c)
	}
	return b.String()
}
