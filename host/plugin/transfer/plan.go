package transfer

import (
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

// checkGet says what is wrong with a plan to get a blob.
func checkGet(plan sdk.Transfer, size int64) error {
	if len(plan.Parts) != 1 {
		return invalid("a plan to get a blob has %d parts instead of one", len(plan.Parts))
	}
	part := plan.Parts[0]
	if part.Method != "GET" {
		return invalid("a plan to get a blob has the method %q instead of GET", abbreviate(part.Method))
	}
	if part.Offset != 0 || part.Length < 0 || part.Length > 0 && size >= 0 && part.Length != size {
		return invalid("a plan to get a blob of %d bytes has a part of %d bytes from %d", size, part.Length, part.Offset)
	}
	return checkHeader(part.Header)
}

// checkPut says what is wrong with a plan to put a blob.
func checkPut(plan sdk.Transfer, size int64) error {
	var at int64
	for i, part := range plan.Parts {
		if part.Method != "PUT" && part.Method != "POST" {
			return invalid("part %d of a plan has the method %q instead of PUT or POST", i+1, abbreviate(part.Method))
		}
		last := i == len(plan.Parts)-1
		if part.Offset != at || part.Length < 0 || part.Length == 0 && !last || part.Length > size-at {
			return invalid("part %d of a plan has %d bytes from %d, where byte %d of %d comes next", i+1, part.Length, part.Offset, at, size)
		}
		if err := checkHeader(part.Header); err != nil {
			return err
		}
		at += partLength(part, size)
	}
	if len(plan.Parts) > 0 && at != size {
		return invalid("the parts of a plan end at byte %d of %d", at, size)
	}
	return nil
}

// partLength resolves the length 0 of a last part.
func partLength(part sdk.TransferPart, size int64) int64 {
	if part.Length == 0 {
		return size - part.Offset
	}
	return part.Length
}

// ours are the fields that the engine or HTTP itself decides.
var ours = map[string]bool{
	"host": true, "content-length": true, "transfer-encoding": true, "connection": true, "range": true, "if-range": true,
	"trailer": true, "te": true, "upgrade": true, "expect": true, "keep-alive": true, "proxy-connection": true,
}

// checkHeader refuses fields that would change where a request goes or how its body is framed.
func checkHeader(header []sdk.Header) error {
	for _, h := range header {
		if ours[strings.ToLower(h.Name)] {
			return invalid("a plan sets the header field %q, which is the host's", abbreviate(h.Name))
		}
		if h.Name == "" || strings.ContainsFunc(h.Name, notToken) {
			return invalid("a plan has a header field of the name %q", abbreviate(h.Name))
		}
		if strings.ContainsFunc(h.Value, isControl) {
			return invalid("a plan has control characters in the header field %q", abbreviate(h.Name))
		}
	}
	return nil
}

func notToken(r rune) bool {
	return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// sameUpload says whether the parts that were sent by one plan are parts of the upload of another.
func sameUpload(a, b sdk.Transfer) bool {
	if a.Token != b.Token || len(a.Parts) != len(b.Parts) {
		return false
	}
	for i := range a.Parts {
		if a.Parts[i].Offset != b.Parts[i].Offset || a.Parts[i].Length != b.Parts[i].Length {
			return false
		}
	}
	// Without a token there is nothing but the address to tell one upload from another.
	return a.Token != "" || len(a.Parts) == 1
}
