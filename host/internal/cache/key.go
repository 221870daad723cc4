// Package cache decides what earlier builds' work can be used again: it makes the keys of steps, looks them up in the
// backends, ahead and in one batch, and stores what was made.
//
// A step has three keys, each a digest over its schema, its effects and what they read:
//
//   - the definition key chains the definition keys of the steps before it. It needs no execution, so all of a build's
//     are asked for at once before anything runs;
//   - the content key chains the diff IDs of the layers below instead. It is asked after a miss, so that a step that came
//     out the same as before lets the later ones hit;
//   - the seen key chains nothing. Where it has no record the content key can have none either, and nobody need wait for
//     the layer below to be hashed just to ask.
package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"reflect"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/sdk"
)

// schema changes whenever equal keys could mean different layers: when what goes into a key changes, or what the engine
// makes of an effect.
const schema = "trowel step 3"

// Sum is the digest that a key is made from.
type Sum [sha256.Size]byte

// String is the hexadecimal form of s.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// Chain is what a step builds on, in the form that one kind of key wants.
type Chain struct{ sum Sum }

// ImageChain is the chain of a base image: of its diff IDs from the lowest on. An image that was tagged anew with the
// same layers is the same base. No diff IDs stand for FROM scratch.
func ImageChain(diffIDs []string) Chain {
	var c Chain
	for _, id := range diffIDs {
		c = c.Layer(id)
	}
	return c
}

// String is the hexadecimal form of c.
func (c Chain) String() string { return c.sum.String() }

// Layer is the chain with a layer on top.
func (c Chain) Layer(diffID string) Chain {
	h := newDigest("layer")
	h.bytes(c.sum[:])
	h.string(diffID)
	return Chain{h.sum()}
}

// Definition is the chain with a step on top of which only the definition is known.
func (c Chain) Definition(key Sum) Chain {
	h := newDigest("definition")
	h.bytes(c.sum[:])
	h.bytes(key[:])
	return Chain{h.sum()}
}

// Input is what one effect of a step reads from elsewhere, such as the files of a COPY, as a digest. An input that only a
// definition describes (a stage that was not built yet) is the digest of its chain.
type Input struct{ sum Sum }

// FilesInput is the input that consists of files. Names, types, modes, owners, links, devices, extended attributes and
// content count; modification times do not, as with BuildKit: a fresh checkout would miss every time. Named are the paths of
// those that are unpacked if they are archives, which their places do not tell.
func FilesInput(changes []filetree.Change, named []string) (Input, error) {
	h := newDigest("files")
	h.int(int64(len(named)))
	for _, p := range named {
		h.string(p)
	}
	for i := range changes {
		if err := h.entry(&changes[i].Entry); err != nil {
			return Input{}, err
		}
	}
	return Input{h.sum()}, nil
}

// StageInput is the input that consists of paths of a stage or an image of which only the chain is known.
func StageInput(c Chain, paths []string) Input {
	h := newDigest("stage")
	h.bytes(c.sum[:])
	for _, p := range paths {
		h.string(p)
	}
	return Input{h.sum()}
}

// RemoteInput is the input that consists of paths of something elsewhere, whose identity stands for its content.
func RemoteInput(identity string, paths []string) Input {
	h := newDigest("remote")
	h.string(identity)
	for _, p := range paths {
		h.string(p)
	}
	return Input{h.sum()}
}

// StepSum digests a step's effects, the circumstances that they depend on (the platform, say), and inputs, those of each
// effect that reads anything in order.
func StepSum(circumstances string, effects []effect.Effect, inputs []Input) (Sum, error) {
	h := newDigest(schema)
	h.string(circumstances)
	for _, e := range effects {
		if x, ok := e.(effect.Exec); ok {
			x.Unkeyed, x.Mounts = nil, mountKeys(x.Mounts)
			e = x
		}
		if c, ok := e.(effect.Copy); ok {
			e = copyKey(c)
		}
		h.string(fmt.Sprintf("%T", e))
		if err := h.value(reflect.ValueOf(e)); err != nil {
			return Sum{}, fmt.Errorf("digest step: %w", err)
		}
	}
	h.int(int64(len(inputs)))
	for _, in := range inputs {
		h.bytes(in.sum[:])
	}
	return h.sum(), nil
}

// copyKey leaves out of a copy's key where its files come from: their digest is an input, and equal files from another
// stage are the same copy.
func copyKey(c effect.Copy) effect.Copy {
	sources := make([]effect.CopySource, len(c.Sources))
	for i := range c.Sources {
		sources[i] = effect.CopySource{Inline: c.Sources[i].Inline, Unpack: c.Sources[i].Unpack}
	}
	c.Sources = sources
	return c
}

// mountKeys leaves out of a process's mounts where their files come from, as copyKey does, and which cache it is: what a
// process finds in one must not matter.
func mountKeys(mounts []effect.Mount) []effect.Mount {
	out := slices.Clone(mounts)
	for i := range out {
		m := &out[i]
		if m.ReadsFiles() {
			m.From, m.Source = effect.Location{}, ""
		}
		if m.Kind == effect.MountCache {
			m.ID, m.Sharing = "", ""
		}
	}
	return out
}

// DefinitionKey is the key of a step whose inputs are known by definition, on a chain of definitions.
func DefinitionKey(c Chain, step Sum) (sdk.Key, Sum) {
	h := newDigest("definition key")
	h.bytes(c.sum[:])
	h.bytes(step[:])
	s := h.sum()
	return sdk.Key("step/definition-" + s.String()), s
}

// ContentKey is the key of a step whose inputs are known by content, on a chain of layers.
func ContentKey(c Chain, step Sum) sdk.Key {
	h := newDigest("content key")
	h.bytes(c.sum[:])
	h.bytes(step[:])
	return sdk.Key("step/content-" + h.sum().String())
}

// SeenKey is the key under which is noted that a step was run at all, on whatever layers and with whatever inputs.
func SeenKey(step Sum) sdk.Key { return sdk.Key("step/seen-" + step.String()) }

// OutwardKey is the key of the layer with this diff ID in the form that images have it in.
func OutwardKey(diffID, form string) sdk.Key {
	h := newDigest("outward layer 1")
	h.string(diffID)
	h.string(form)
	return sdk.Key("outward/" + h.sum().String())
}

// IndexKey is the key of the index of the layer with this diff ID.
func IndexKey(diffID string) sdk.Key {
	h := newDigest("layer index 1")
	h.string(diffID)
	return indexPrefix + sdk.Key(h.sum().String())
}

// indexPrefix is how the keys of layers' indexes begin.
const indexPrefix sdk.Key = "index/"

// isIndexKey says whether a key is one of [IndexKey]'s.
func isIndexKey(key sdk.Key) bool { return strings.HasPrefix(string(key), string(indexPrefix)) }

// digest frames each value with its length, so that no two lists of values digest alike.
type digest struct{ h hash.Hash }

func newDigest(domain string) digest {
	d := digest{sha256.New()}
	d.string(domain)
	return d
}

func (d digest) bytes(b []byte) {
	d.int(int64(len(b)))
	d.h.Write(b)
}

func (d digest) string(s string) { d.bytes([]byte(s)) }

func (d digest) int(n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	d.h.Write(b[:])
}

// value digests all that an effect says, byte for byte: text formats such as JSON take different bytes that are no UTF-8
// for the same.
func (d digest) value(v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		d.string(v.String())
	case reflect.Int64:
		d.int(v.Int())
	case reflect.Slice:
		d.int(int64(v.Len()))
		for i := range v.Len() {
			if err := d.value(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		d.int(int64(v.NumField()))
		for i := range v.NumField() {
			if err := d.value(v.Field(i)); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("an effect has a field of kind %s", v.Kind())
	}
	return nil
}

func (d digest) sum() Sum { return Sum(d.h.Sum(nil)) }

func (d digest) entry(e *filetree.Entry) error {
	if e.Type == filetree.Regular && e.Size > 0 && !e.Digest.Known() {
		return fmt.Errorf("digest %q: its content was not read", e.Path)
	}
	d.string(e.Path)
	d.string(e.Link)
	for _, n := range []int64{int64(e.Type), int64(e.Mode), int64(e.UID), int64(e.GID), e.Size, int64(e.Major), int64(e.Minor)} {
		d.int(n)
	}
	d.bytes(e.Digest[:])
	d.string(e.Xattrs["security.capability"])
	return nil
}
