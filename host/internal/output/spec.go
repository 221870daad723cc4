package output

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/util/suggest"

	"github.com/trowel-build/trowel/host/internal/image"
)

// Type is a kind of output.
type Type string

// The types of output.
const (
	TypeImage     Type = "image" // in a registry, if Push says so; "registry" is this with push
	TypeOCI       Type = "oci"
	TypeDocker    Type = "docker"
	TypeTar       Type = "tar"
	TypeLocal     Type = "local"
	TypeCacheOnly Type = "cacheonly" // nothing: the build fills the cache
)

// registryType is how users write TypeImage with push.
const registryType = "registry"

// stdoutName is how --output names standard output.
const stdoutName = "-"

// Form is what an output of type oci is written as.
type Form string

// The forms of an OCI layout.
const (
	FormArchive   Form = ""
	FormDirectory Form = "directory" // tar=false
)

// Push says what is pushed to the registry.
type Push string

// The ways to push.
const (
	PushNothing Push = ""
	PushNames   Push = "names"  // the image under its names
	PushDigest  Push = "digest" // the image without a tag: push-by-digest
)

// Spec is one value of --output.
type Spec struct {
	Type Type
	Dest string // file or directory; "-" is standard output; empty for what goes to no file
	Form Form

	Names    []string // name=, beside those of --tag
	Push     Push
	Insecure bool // registry.insecure: plain HTTP or an unknown certificate will do

	Compression      image.Compression // empty: not said
	CompressionLevel *int
	ForceCompression bool         // for layers of the base too
	Format           image.Format // empty: not said
	Rewrite          *bool        // rewrite-timestamp=; nil: not said
	Annotations      image.Annotations

	Source   string   // src=, a directory of the image, with types tar and local
	Existing Existing // mode=, with type local
	Split    Split    // platform-split=, with types tar and local

	byDigest bool   // push-by-digest
	written  string // as the user wrote it
}

// Needs is what an output is made from.
type Needs string

// What outputs need.
const (
	NeedsNothing Needs = ""
	NeedsImage   Needs = "image" // config, manifest and layers
	NeedsTree    Needs = "tree"  // the files
)

// Needs says what the output is made from.
func (s Spec) Needs() Needs {
	switch s.Type {
	case TypeImage, TypeOCI, TypeDocker:
		return NeedsImage
	case TypeTar, TypeLocal:
		return NeedsTree
	default:
		return NeedsNothing
	}
}

// CheckIndex refuses an output that cannot hold an index over several images.
func (s Spec) CheckIndex() error {
	if s.Type == TypeDocker {
		return errors.New("a Docker archive holds no index: build for one platform, without BUILDKIT_MULTI_PLATFORM, or use type=oci")
	}
	return nil
}

func (s Spec) text() string {
	if s.written != "" {
		return s.written
	}
	return "type=" + string(s.Type) + ",dest=" + s.Dest
}

// ParseSpecs reads the values of --output, as Docker's buildx does: a directory alone is type=local, "-" alone is
// type=tar to standard output. What it does not know is an error, with the nearest word it does.
func ParseSpecs(values []string) ([]Spec, error) {
	var specs []Spec
	toStdout := 0
	for _, v := range values {
		if v == "" {
			continue
		}
		s, err := parseSpec(v)
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", v, err)
		}
		if s.Dest == stdoutName {
			toStdout++
		}
		specs = append(specs, s)
	}
	if toStdout > 1 {
		return nil, fmt.Errorf("%d outputs go to standard output: give all but one a file with dest=", toStdout)
	}
	return specs, nil
}

func parseSpec(value string) (Spec, error) {
	r := csv.NewReader(strings.NewReader(value))
	fields, err := r.Read()
	if err != nil {
		return Spec{}, err
	}
	if _, err := r.Read(); err == nil {
		return Spec{}, errors.New("it has more than one line")
	}
	s := Spec{written: value}
	if len(fields) == 1 && fields[0] == value && !looksLikeAttribute(value) {
		s.Type, s.Dest = TypeLocal, value
		if value == stdoutName {
			s.Type = TypeTar
		}
		return s, s.complete()
	}
	attributes, err := s.split(fields)
	if err != nil {
		return Spec{}, err
	}
	for _, a := range attributes {
		if err := s.set(a.key, a.value); err != nil {
			return Spec{}, err
		}
	}
	return s, s.complete()
}

// looksLikeAttribute says whether a lone field is meant to be key=value rather than the name of a directory.
func looksLikeAttribute(field string) bool {
	key, _, ok := strings.Cut(field, "=")
	_, known := attributes[key]
	return ok && (known || key == "type" || key == "dest")
}

type pair struct{ key, value string }

// split takes type and dest out of the fields and gives the others.
func (s *Spec) split(fields []string) ([]pair, error) {
	var rest []pair
	written := ""
	for _, f := range fields {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not of the form key=value", f)
		}
		switch key = strings.TrimSpace(strings.ToLower(key)); key {
		case "type":
			written = value
		case "dest":
			s.Dest = value
		default:
			rest = append(rest, pair{key, value})
		}
	}
	known := []string{string(TypeImage), registryType, string(TypeOCI), string(TypeDocker), string(TypeTar), string(TypeLocal), string(TypeCacheOnly)}
	switch {
	case written == "":
		return nil, fmt.Errorf("it has no type: add type=, one of %s", strings.Join(known, ", "))
	case !slices.Contains(known, written):
		return nil, unknown("type", written, known)
	case written == registryType:
		s.Type, s.Push = TypeImage, PushNames
	default:
		s.Type = Type(written)
	}
	return rest, nil
}

func unknown(what, word string, known []string) error {
	if near, ok := suggest.Search(word, known, true); ok {
		return fmt.Errorf("unknown %s %q: did you mean %q?", what, word, near)
	}
	return fmt.Errorf("unknown %s %q: known are %s", what, word, strings.Join(known, ", "))
}

// set sets one attribute.
func (s *Spec) set(key, value string) error {
	if image.IsAnnotationAttribute(key) {
		if s.Needs() != NeedsImage {
			return fmt.Errorf("%q: an output of type %q has no annotations", key, s.Type)
		}
		a, err := image.ParseAnnotationAttribute(key, value)
		s.Annotations = append(s.Annotations, a)
		return err
	}
	a, ok := attributes[key]
	if !ok {
		return unknown("key", key, append(slices.Sorted(maps.Keys(attributes)), "type", "dest"))
	}
	if !slices.Contains(a.types, s.Type) {
		return fmt.Errorf("key %q does not belong to type %q: it is for %s", key, s.Type, join(a.types))
	}
	if err := a.set(s, value); err != nil {
		return fmt.Errorf("%s=%q: %w", key, value, err)
	}
	return nil
}

func join(types []Type) string {
	var words []string
	for _, t := range types {
		words = append(words, string(t))
	}
	return strings.Join(words, ", ")
}

// complete checks what belongs together and fills in where an output goes that does not say.
func (s *Spec) complete() error {
	if s.Push == PushNames && s.byDigest {
		s.Push = PushDigest
	}
	directory := s.Type == TypeLocal || s.Form == FormDirectory
	switch {
	case s.Type == TypeImage || s.Type == TypeCacheOnly:
		if s.Dest != "" {
			return fmt.Errorf("an output of type %q has no dest", s.Type)
		}
	case directory && s.Dest == "":
		return fmt.Errorf("an output of type %q needs a directory: add dest=", s.Type)
	case directory && s.Dest == stdoutName:
		return errors.New("a directory cannot go to standard output: name one with dest=")
	case s.Type == TypeDocker && s.Dest == "":
		return errors.New("there is no Docker daemon to load the image into: add dest=image.tar, then docker load -i image.tar")
	case s.Dest == "":
		s.Dest = stdoutName
	}
	if s.Format == image.Docker && s.Compression == image.Zstd {
		return errors.New("compression=zstd needs OCI media types: drop oci-mediatypes=false")
	}
	if s.Type == TypeOCI && s.Format == image.Docker {
		return errors.New("an OCI layout has OCI media types: use type=docker, or drop oci-mediatypes=false")
	}
	if s.Format == image.Docker && len(s.Annotations) > 0 {
		return errors.New("annotations need OCI media types: drop oci-mediatypes=false")
	}
	return s.checkLevel()
}

func (s *Spec) checkLevel() error {
	if s.CompressionLevel == nil {
		return nil
	}
	most := 9
	switch s.Compression {
	case image.Zstd:
		most = 22
	case image.Uncompressed:
		return errors.New("compression-level has no meaning with compression=uncompressed")
	}
	if l := *s.CompressionLevel; l < 0 || l > most {
		return fmt.Errorf("compression-level=%d is not between 0 and %d", l, most)
	}
	return nil
}
