package filecopy

import (
	"fmt"
	"io/fs"
	"strconv"

	mode "github.com/tonistiigi/dchapes-mode"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Mode is a parsed --chmod. The zero value changes nothing.
type Mode struct {
	octal    *uint16
	symbolic *mode.Set
}

// ParseMode parses --chmod: octal up to 7777, or symbolic as in chmod(1); "" changes nothing.
func ParseMode(s string) (Mode, error) {
	if s == "" {
		return Mode{}, nil
	}
	if n, err := strconv.ParseUint(s, 8, 32); err == nil {
		if n > 0o7777 {
			return Mode{}, fmt.Errorf("bad mode --chmod=%s: the largest is 7777", s)
		}
		m := uint16(n)
		return Mode{octal: &m}, nil
	}
	set, err := mode.ParseWithUmask(s, 0)
	if err != nil || '0' <= s[0] && s[0] <= '9' {
		return Mode{}, fmt.Errorf("bad mode --chmod=%s: want octal, as 755, or symbolic, as u=rwX,go=rX", s)
	}
	return Mode{symbolic: &set}, nil
}

func (m Mode) set() bool { return m.octal != nil || m.symbolic != nil }

// of is the mode of a copied file that has mode old.
func (m Mode) of(old uint16, t filetree.Type) uint16 {
	switch {
	case t == filetree.Symlink:
		return old
	case m.octal != nil:
		return *m.octal
	case m.symbolic != nil:
		return fromFileMode(m.symbolic.Apply(toFileMode(old, t)))
	}
	return old
}

// parents is the mode of directories that the copy has to make: an octal --chmod holds for them too, as in BuildKit, but
// for the bits above 777.
func (m Mode) parents() uint16 {
	if m.octal != nil {
		return *m.octal & 0o777
	}
	return 0o755
}

func toFileMode(m uint16, t filetree.Type) fs.FileMode {
	f := fs.FileMode(m & 0o777)
	if m&filetree.SetUID != 0 {
		f |= fs.ModeSetuid
	}
	if m&filetree.SetGID != 0 {
		f |= fs.ModeSetgid
	}
	if m&filetree.Sticky != 0 {
		f |= fs.ModeSticky
	}
	if t == filetree.Directory {
		f |= fs.ModeDir
	}
	return f
}

func fromFileMode(f fs.FileMode) uint16 {
	m := uint16(f.Perm())
	if f&fs.ModeSetuid != 0 {
		m |= filetree.SetUID
	}
	if f&fs.ModeSetgid != 0 {
		m |= filetree.SetGID
	}
	if f&fs.ModeSticky != 0 {
		m |= filetree.Sticky
	}
	return m
}
