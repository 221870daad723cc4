package output

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/host/internal/image"
)

// attribute is a key of --output.
type attribute struct {
	types []Type
	set   func(s *Spec, value string) error
}

var (
	images   = []Type{TypeImage, TypeOCI, TypeDocker}
	onlyPush = []Type{TypeImage}
	archives = []Type{TypeOCI, TypeDocker}
	trees    = []Type{TypeTar, TypeLocal}
)

// attributes are the keys that buildx and BuildKit know, but for type, dest and annotations. Those for which Trowel has no
// use are accepted where they ask for what it does anyway.
var attributes = map[string]attribute{
	"name":                  {images, setName},
	"push":                  {onlyPush, setPush},
	"push-by-digest":        {onlyPush, func(s *Spec, v string) error { return setBool(&s.byDigest, v) }},
	"registry.insecure":     {onlyPush, func(s *Spec, v string) error { return setBool(&s.Insecure, v) }},
	"compression":           {images, setCompression},
	"compression-level":     {images, setLevel},
	"force-compression":     {images, func(s *Spec, v string) error { return setBool(&s.ForceCompression, v) }},
	"oci-mediatypes":        {images, setFormat},
	"tar":                   {archives, setForm},
	"src":                   {trees, setSource},
	"mode":                  {[]Type{TypeLocal}, setExisting},
	"rewrite-timestamp":     {images, setRewrite},
	"source-date-epoch":     {append(images[:3:3], trees...), refused("set it with --build-arg SOURCE_DATE_EPOCH=")},
	"name-canonical":        {onlyPush, mustBeBool}, // a further name in the image store of a daemon
	"unpack":                {onlyPush, mustBeFalse("there is no daemon to unpack for")},
	"store":                 {onlyPush, mustBeFalse("there is no daemon to store in")},
	"context":               {[]Type{TypeDocker}, refused("there is no Docker daemon to load into")},
	"oci-artifact":          {images, mustBeFalse("no attestations are made")},
	"attestation-inline":    {images, mustBeFalse("no attestations are made")},
	"attestation-prefix":    {trees, refused("no attestations are made")},
	"platform-split":        {trees, setSplit},
	"prefer-nondist-layers": {images, mustBeFalse("non-distributable layers are not supported")},
	// BuildKit's own spelling of the second.
	"dangling-name-prefix":    {onlyPush, refused("there is no daemon to store names in")},
	"danging-name-empty-only": {onlyPush, refused("there is no daemon to store names in")},
}

// setBool reads a flag; a flag without a value is set, as in BuildKit.
func setBool(b *bool, value string) (err error) {
	if value == "" {
		*b = true
		return nil
	}
	if *b, err = strconv.ParseBool(value); err != nil {
		return errors.New("it is neither true nor false")
	}
	return nil
}

func mustBeBool(_ *Spec, value string) error {
	var b bool
	return setBool(&b, value)
}

func mustBeFalse(reason string) func(*Spec, string) error {
	return func(_ *Spec, value string) error {
		var b bool
		if err := setBool(&b, value); err != nil {
			return err
		}
		if b {
			return fmt.Errorf("it is not supported: %s", reason)
		}
		return nil
	}
}

func refused(reason string) func(*Spec, string) error {
	return func(*Spec, string) error { return fmt.Errorf("it is not supported: %s", reason) }
}

func setName(s *Spec, value string) error {
	for name := range strings.SplitSeq(value, ",") {
		if name = strings.TrimSpace(name); name != "" {
			s.Names = append(s.Names, name)
		}
	}
	return nil
}

func setPush(s *Spec, value string) error {
	var push bool
	if err := setBool(&push, value); err != nil {
		return err
	}
	s.Push = PushNothing
	if push {
		s.Push = PushNames
	}
	return nil
}

func setCompression(s *Spec, value string) error {
	switch c := image.Compression(value); c {
	case image.Uncompressed, image.Gzip, image.Zstd:
		s.Compression = c
		return nil
	}
	if value == "estargz" {
		return errors.New("it is not supported: use gzip or zstd")
	}
	return unknown("compression", value, []string{string(image.Uncompressed), string(image.Gzip), string(image.Zstd)})
}

func setLevel(s *Spec, value string) error {
	level, err := strconv.Atoi(value)
	if err != nil {
		return errors.New("it is no number")
	}
	s.CompressionLevel = &level
	return nil
}

func setFormat(s *Spec, value string) error {
	var oci bool
	if err := setBool(&oci, value); err != nil {
		return err
	}
	s.Format = image.Docker
	if oci {
		s.Format = image.OCI
	}
	return nil
}

func setForm(s *Spec, value string) error {
	var tar bool
	if err := setBool(&tar, value); err != nil {
		return err
	}
	if !tar && s.Type == TypeDocker {
		return errors.New("a Docker archive is a tar: use type=oci for a directory")
	}
	s.Form = FormDirectory
	if tar {
		s.Form = FormArchive
	}
	return nil
}

func setRewrite(s *Spec, value string) error {
	var rewrite bool
	err := setBool(&rewrite, value)
	s.Rewrite = &rewrite
	return err
}

func setSplit(s *Spec, value string) error {
	var split bool
	if err := setBool(&split, value); err != nil {
		return err
	}
	s.Split = SplitNever
	if split {
		s.Split = SplitAlways
	}
	return nil
}

func setSource(s *Spec, value string) error {
	if value == "" {
		return errors.New("it is empty: drop it to put out all files")
	}
	s.Source = value
	return nil
}

func setExisting(s *Spec, value string) error {
	switch e := Existing(strings.ToLower(strings.TrimSpace(value))); e {
	case "", ExistingKeep:
		s.Existing = ExistingKeep
	case ExistingDelete:
		s.Existing = e
	default:
		return unknown("mode", value, []string{string(ExistingKeep), string(ExistingDelete)})
	}
	return nil
}
