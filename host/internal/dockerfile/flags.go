package dockerfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// flagKind is how often a flag can be given and what value it takes.
type flagKind string

const (
	flagBool  flagKind = "bool"
	flagValue flagKind = "value"
	flagList  flagKind = "list"
)

// flagsOf are the flags of an instruction. BuildKit checks them too, but says nothing of where they stand, and ignores
// those of ARG and STOPSIGNAL.
func flagsOf(keyword string) map[string]flagKind {
	switch keyword {
	case "FROM":
		return map[string]flagKind{"platform": flagValue}
	case "RUN":
		return map[string]flagKind{"mount": flagList, "network": flagValue, "security": flagValue, "device": flagList}
	case "COPY":
		return map[string]flagKind{
			"from": flagValue, "chown": flagValue, "chmod": flagValue, "link": flagBool,
			"parents": flagBool, "exclude": flagList,
		}
	case "ADD":
		return map[string]flagKind{
			"chown": flagValue, "chmod": flagValue, "checksum": flagValue, "link": flagBool,
			"keep-git-dir": flagBool, "unpack": flagBool, "exclude": flagList,
		}
	case "HEALTHCHECK":
		return map[string]flagKind{
			"interval": flagValue, "timeout": flagValue, "start-period": flagValue,
			"start-interval": flagValue, "retries": flagValue,
		}
	}
	return nil
}

// checkNode checks an instruction's keyword and flags, and those of the trigger within an ONBUILD.
func (f *File) checkNode(node *parser.Node) error {
	in := Instruction{Keyword: strings.ToUpper(node.Value), Position: Position{node.StartLine, node.EndLine}}
	if err := f.checkKeyword(in, node.Value); err != nil {
		return err
	}
	if err := f.checkFlags(in, in.Keyword, node.Flags); err != nil {
		return err
	}
	if in.Keyword != "ONBUILD" || node.Next == nil || len(node.Next.Children) == 0 {
		return nil
	}
	trigger := node.Next.Children[0]
	if _, custom := f.custom[strings.ToUpper(trigger.Value)]; custom {
		return f.Fail(in, trigger.Value, errTrigger, "")
	}
	if err := f.checkKeyword(in, trigger.Value); err != nil {
		return err
	}
	return f.checkFlags(in, strings.ToUpper(trigger.Value), trigger.Flags)
}

// checkKeyword finds unknown instructions.
func (f *File) checkKeyword(in Instruction, keyword string) error {
	if standard(keyword) {
		return nil
	}
	known := slices.Collect(maps.Keys(f.custom))
	for name := range command.Commands {
		known = append(known, strings.ToUpper(name))
	}
	hint := DidYouMean(strings.ToUpper(keyword), known)
	if strings.HasPrefix(keyword, "<<<<<<<") || strings.HasPrefix(keyword, "=======") || strings.HasPrefix(keyword, ">>>>>>>") {
		hint = "this is the mark of an unresolved merge conflict"
	}
	if in.Keyword != "ONBUILD" {
		in.Keyword = ""
	}
	return f.Fail(in, keyword, fmt.Errorf("unknown instruction %q", keyword), hint)
}

// standard says whether the Dockerfile language itself has an instruction.
func standard(keyword string) bool {
	_, ok := command.Commands[strings.ToLower(keyword)]
	return ok
}

// checkFlags finds unknown flags, flags without the value they need, and flags given twice.
func (f *File) checkFlags(in Instruction, keyword string, flags []string) error {
	known := flagsOf(keyword)
	seen := map[string]bool{}
	for _, flag := range flags {
		name, value, hasValue := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		kind, ok := known[name]
		fail := func(hint, format string, args ...any) error {
			return f.Fail(in, "--"+name, fmt.Errorf(format, args...), hint)
		}
		switch {
		case !ok && len(known) == 0:
			return fail("", "unknown flag %q: %s has no flags", "--"+name, keyword)
		case !ok:
			return fail(f.flagHint(name, known), "unknown flag %q", "--"+name)
		case keyword == "RUN" && name == "device":
			return fail("", "--device is not supported yet")
		case seen[name] && kind != flagList:
			return fail("", "flag %q is given twice", "--"+name)
		case kind != flagBool && !hasValue:
			return fail("", "flag %q needs a value: write --%s=…", "--"+name, name)
		case kind == flagBool && hasValue && !slices.Contains([]string{"true", "false"}, strings.ToLower(value)):
			return fail("", "flag %q is true or false, not %q", "--"+name, value)
		}
		seen[name] = true
	}
	return nil
}

func (f *File) flagHint(name string, known map[string]flagKind) string {
	if match := Nearest(name, slices.Collect(maps.Keys(known))); match != "" {
		return "did you mean --" + match + "?"
	}
	var all []string
	for _, k := range slices.Sorted(maps.Keys(known)) {
		all = append(all, "--"+k)
	}
	return "the flags are " + strings.Join(all, ", ")
}

// checkOrder finds instructions before the first FROM.
func (f *File) checkOrder(nodes []*parser.Node) error {
	for _, node := range nodes {
		keyword := strings.ToUpper(node.Value)
		if keyword == "FROM" {
			return nil
		}
		if keyword != "ARG" {
			in := Instruction{Keyword: keyword, Position: Position{node.StartLine, node.EndLine}}
			return f.Fail(in, node.Value, errors.New("only ARG can stand before the first FROM"), "start the file with FROM")
		}
	}
	return &Error{File: f.Name, Err: errors.New("there is no FROM in the file"), Hint: "a Dockerfile starts with FROM"}
}
