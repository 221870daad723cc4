package dockerfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/trowel-build/trowel/sdk"
)

// Custom is an instruction that a plugin gives: its words as they were written, variables and all.
type Custom struct {
	Instruction sdk.Instruction
	Flags       []sdk.FlagValue
	Args        []string
	Heredocs    []CustomHeredoc

	keyword  string // as written
	text     string
	location []parser.Range
	comments []string
}

// CustomHeredoc is a heredoc of a custom instruction.
type CustomHeredoc struct {
	Name    string
	Content string
	Expand  bool // its word was not quoted
}

// Name is the instruction's keyword as it was written, which BuildKit's types have too.
func (c *Custom) Name() string { return c.keyword }

// Location is where the instruction stands.
func (c *Custom) Location() []parser.Range { return c.location }

// Comments are the lines of the comment right above.
func (c *Custom) Comments() []string { return c.comments }

// String is the instruction on one line.
func (c *Custom) String() string { return c.text }

var _ instructions.Command = (*Custom)(nil)

// customs finds the instructions of plugins in a file.
type customs struct {
	file  *File
	known map[string]sdk.Instruction // by keyword
	found []*Custom
}

// markLines makes RUN of the keywords of custom instructions that have heredocs: BuildKit's parser reads heredocs of RUN,
// COPY and ADD alone. It returns the text and the keywords it replaced by line.
func (c *customs) markLines(text []byte) (string, map[int]string, error) {
	if len(c.known) == 0 {
		return string(text), nil, nil
	}
	marked := map[int]string{}
	lines := strings.SplitAfter(string(text), "\n")
	escape := string(c.file.Escape)
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		keyword := strings.ToUpper(firstWord(strings.ReplaceAll(line, "\t", " ")))
		instruction, custom := c.known[keyword]
		logical, start := line, i
		for more := continues(line, escape); more && i+1 < len(lines); {
			i++
			next := strings.TrimSpace(lines[i])
			if next == "" || strings.HasPrefix(next, "#") {
				continue // as the parser does
			}
			logical = strings.TrimSuffix(logical, escape) + strings.TrimRight(lines[i], " \t\r\n")
			more = continues(next, escape)
		}
		if keyword == "ONBUILD" {
			_, trigger, _ := strings.Cut(strings.ReplaceAll(logical, "\t", " "), " ")
			keyword = strings.ToUpper(firstWord(trigger))
		}
		if !custom && !slices.Contains([]string{"RUN", "COPY", "ADD"}, keyword) {
			continue
		}
		heredocs, err := heredocsOf(logical, c.file.Escape)
		if err != nil || len(heredocs) == 0 {
			continue // what is wrong with it is for the parser to say
		}
		if custom && instruction.Heredocs {
			at := strings.Index(strings.ToUpper(lines[start]), keyword)
			marked[start+1] = lines[start][at : at+len(keyword)]
			lines[start] = lines[start][:at] + "RUN" + lines[start][at+len(keyword):]
		}
		if custom && !instruction.Heredocs {
			return "", nil, c.file.failAt(Position{start + 1, i + 1}, keyword, fmt.Errorf("%s takes no heredocs", keyword), "")
		}
		i = skipHeredocs(lines, i, heredocs)
	}
	return strings.Join(lines, ""), marked, nil
}

// continues says whether a line goes on in the next: an escape character that is escaped itself is none.
func continues(line, escape string) bool {
	return strings.HasSuffix(line, escape) && !strings.HasSuffix(line, escape+escape)
}

// heredocsOf are the heredocs that a line begins.
func heredocsOf(line string, escape rune) ([]parser.Heredoc, error) {
	words, literal, err := customWords(line, escape)
	if err != nil || literal {
		return nil, err
	}
	var found []parser.Heredoc
	for _, w := range words {
		h, err := parser.ParseHeredoc(w)
		if err != nil {
			return nil, err
		}
		if h != nil {
			found = append(found, *h)
		}
	}
	return found, nil
}

// skipHeredocs is the index of the last line of the heredocs that begin after line i.
func skipHeredocs(lines []string, i int, heredocs []parser.Heredoc) int {
	for _, h := range heredocs {
		for i++; i < len(lines); i++ {
			end := strings.TrimRight(lines[i], "\r\n")
			if h.Chomp {
				end = strings.TrimLeft(end, "\t")
			}
			if end == h.Name {
				break
			}
		}
	}
	return i
}

// placeholder is the argument of the instruction that stands for a custom one while BuildKit's parser has the file: it has
// a byte that no Dockerfile may have.
func placeholder(i int) string { return "\x00custom " + strconv.Itoa(i) }

// take replaces the nodes of custom instructions with placeholders.
func (c *customs) take(nodes []*parser.Node, marked map[int]string) error {
	for _, node := range nodes {
		written := node.Value
		if k, ok := marked[node.StartLine]; ok {
			written = k
		}
		instruction, ok := c.known[strings.ToUpper(written)]
		if !ok {
			continue
		}
		custom, err := c.parse(instruction, node)
		if err != nil {
			return err
		}
		custom.keyword, custom.comments = written, node.PrevComment
		node.Value, node.Flags, node.Heredocs, node.Attributes = "STOPSIGNAL", nil, nil, nil
		node.Next = &parser.Node{Value: placeholder(len(c.found))}
		c.found = append(c.found, custom)
	}
	return nil
}

// restore returns the custom instruction that a command stands for, or the command itself.
func (c *customs) restore(command Command) Command {
	stop, ok := command.(*StopSignal)
	if !ok {
		return command
	}
	for i, custom := range c.found {
		if stop.Signal == placeholder(i) {
			return custom
		}
	}
	return command
}

// parse reads a custom instruction.
func (c *customs) parse(in sdk.Instruction, node *parser.Node) (*Custom, error) {
	at := Instruction{Keyword: in.Keyword, Position: Position{node.StartLine, node.EndLine}}
	fail := func(word string, err error) error { return c.file.Fail(at, word, err, usageOf(in)) }
	_, rest, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(node.Original), "\t", " "), " ")
	out := &Custom{
		Instruction: in, text: strings.TrimSpace(in.Keyword + " " + strings.TrimSpace(rest)),
		location: []parser.Range{{Start: parser.Position{Line: node.StartLine}, End: parser.Position{Line: node.EndLine}}},
	}
	for _, h := range node.Heredocs {
		content := h.Content
		if h.Chomp {
			content = parser.ChompHeredocContent(content)
		}
		out.Heredocs = append(out.Heredocs, CustomHeredoc{Name: h.Name, Content: content, Expand: h.Expand})
	}
	words, literal, err := customWords(rest, c.file.Escape)
	if err != nil {
		return nil, fail("", err)
	}
	if literal {
		out.Args = words
	} else if err := out.sort(words, fail); err != nil {
		return nil, err
	}
	most := in.MaxArgs
	if most == 0 {
		most = in.MinArgs
	}
	if n := len(out.Args); n < in.MinArgs || most >= 0 && n > most {
		return nil, fail("", fmt.Errorf("%s takes %s, not %d", in.Keyword, argumentsOf(in.MinArgs, most), n))
	}
	return out, nil
}

// sort tells a custom instruction's flags from its arguments. Flags may stand anywhere before a "--".
func (c *Custom) sort(words []string, fail func(string, error) error) error {
	seen := map[string]bool{}
	for i := 0; i < len(words); i++ {
		word := words[i]
		if word == "--" {
			c.Args = append(c.Args, words[i+1:]...)
			return nil
		}
		name, value, hasValue := strings.Cut(word, "=")
		long := strings.HasPrefix(name, "--")
		short := !long && len(name) == 2 && name[0] == '-' && name[1] != '-'
		if !long && !short {
			if h, err := parser.ParseHeredoc(word); err == nil && h != nil && len(c.Heredocs) > 0 {
				if word = h.Name; strings.ContainsAny(word, "$\\'\"` ") {
					word = "'" + strings.ReplaceAll(word, "'", `'"'"'`) + "'" // nothing in a name is expanded
				}
			}
			c.Args = append(c.Args, word)
			continue
		}
		name = strings.TrimLeft(name, "-")
		flag, ok := c.flag(name)
		if !ok {
			return fail(word, fmt.Errorf("unknown flag %q", word))
		}
		if seen[name] && flag.Type != sdk.FlagList {
			return fail(word, fmt.Errorf("flag %q is given twice", name))
		}
		seen[name] = true
		switch {
		case hasValue:
		case flag.Type == sdk.FlagBool:
			value = "true"
		case i+1 < len(words):
			i++
			value = words[i]
		default:
			return fail(word, fmt.Errorf("flag %q needs a value", word))
		}
		if flag.Type == sdk.FlagBool && value != "true" && value != "false" {
			return fail(word, fmt.Errorf("flag %q is true or false, not %q", name, value))
		}
		if name == "from" {
			value = strings.Trim(value, `"'`) // it is resolved as it stands, and COPY's takes quotes
		}
		c.Flags = append(c.Flags, sdk.FlagValue{Name: name, Value: value})
	}
	return nil
}

func (c *Custom) flag(name string) (sdk.Flag, bool) {
	i := slices.IndexFunc(c.Instruction.Flags, func(f sdk.Flag) bool { return f.Name == name })
	if i < 0 {
		return sdk.Flag{}, false
	}
	return c.Instruction.Flags[i], true
}

// customWords splits the text of an instruction at blanks that are not quoted; quotes stay, for the expansion of variables
// takes them off. The JSON form is literal.
func customWords(text string, escape rune) (words []string, literal bool, err error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "[") && json.Unmarshal([]byte(text), &words) == nil {
		return words, true, nil
	}
	var word strings.Builder
	var quote rune
	started, escaped := false, false
	for _, r := range text {
		switch {
		case escaped:
			escaped = false
		case r == escape && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case r == ' ' || r == '\t':
			if started {
				words = append(words, word.String())
				word.Reset()
				started = false
			}
			continue
		}
		word.WriteRune(r)
		started = true
	}
	if quote != 0 {
		return nil, false, fmt.Errorf("a quote %q is not closed", quote)
	}
	if started {
		words = append(words, word.String())
	}
	return words, false, nil
}

func usageOf(in sdk.Instruction) string {
	usage := in.Keyword
	for _, f := range in.Flags {
		dashes := "--"
		if len(f.Name) == 1 {
			dashes = "-"
		}
		switch f.Type {
		case sdk.FlagBool:
			usage += " [" + dashes + f.Name + "]"
		case sdk.FlagList:
			usage += " [" + dashes + f.Name + "=VALUE]…"
		default:
			usage += " [" + dashes + f.Name + "=VALUE]"
		}
	}
	return "write it as " + strings.TrimSpace(usage+" "+in.Usage)
}

func argumentsOf(least, most int) string {
	switch {
	case most < 0:
		return fmt.Sprintf("at least %d arguments", least)
	case least == most && least == 1:
		return "one argument"
	case least == most:
		return fmt.Sprintf("%d arguments", least)
	}
	return fmt.Sprintf("%d to %d arguments", least, most)
}

// CheckInstruction says what is wrong with the description of an instruction.
func CheckInstruction(in sdk.Instruction) error {
	upper := func(r rune) bool { return 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' }
	switch {
	case in.Keyword == "" || len(in.Keyword) > 40 || strings.ContainsFunc(in.Keyword, func(r rune) bool { return !upper(r) }):
		return fmt.Errorf("instruction %q: a keyword is capital letters, digits and _", in.Keyword)
	case standard(in.Keyword):
		return fmt.Errorf("instruction %q: the Dockerfile language has one of that name", in.Keyword)
	case in.MaxArgs > 0 && in.MaxArgs < in.MinArgs:
		return fmt.Errorf("instruction %q: at least %d arguments and at most %d", in.Keyword, in.MinArgs, in.MaxArgs)
	}
	names := map[string]bool{}
	for _, f := range in.Flags {
		if f.Name == "" || strings.ContainsAny(f.Name, " =\t\"'") || strings.HasPrefix(f.Name, "-") || names[f.Name] {
			return fmt.Errorf("instruction %q: flag %q has no good name", in.Keyword, f.Name)
		}
		if !slices.Contains([]sdk.FlagType{sdk.FlagString, sdk.FlagBool, sdk.FlagList, sdk.FlagNumber}, f.Type) {
			return fmt.Errorf("instruction %q: flag %q has the unknown type %q", in.Keyword, f.Name, f.Type)
		}
		names[f.Name] = true
	}
	return nil
}

// knownInstructions checks descriptions and lists them by keyword.
func knownInstructions(list []sdk.Instruction) (map[string]sdk.Instruction, error) {
	known := map[string]sdk.Instruction{}
	for _, in := range list {
		if err := CheckInstruction(in); err != nil {
			return nil, err
		}
		if _, twice := known[in.Keyword]; twice {
			return nil, fmt.Errorf("instruction %q: two plugins have it", in.Keyword)
		}
		known[in.Keyword] = in
	}
	return known, nil
}

// errTrigger says why a custom instruction cannot be a trigger.
var errTrigger = errors.New("an instruction of a plugin cannot be an ONBUILD trigger: other builders could not build on the image")
