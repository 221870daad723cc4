package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/output"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// targets are where an image goes, and in what form.
type targets struct {
	push        []registry.Reference // with a tag, or without where only the digest is to name the image
	names       []string             // the tags as given
	outputs     []output.Spec        // files and directories
	annotations image.Annotations
	format      image.Format
	formatSet   image.Format // as some output asks; empty where none does
	index       bool         // an index is made over the image for each platform
	insecure    []string     // registries that may speak plain HTTP or have an unknown certificate
	// compression and level are those that outputs ask for; empty where none does.
	compression image.Compression
	level       *int
	rewrite     *bool // the times inside of layers
	base        stage.BaseCompression
}

// parseTargets reads tags, outputs and annotations.
func parseTargets(r Request) (*targets, error) {
	t := &targets{format: image.OCI, names: slices.Clone(r.Tags)}
	for _, tag := range r.Tags {
		if _, err := tagReference(tag); err != nil {
			return nil, err
		}
	}
	for _, text := range r.Annotations {
		a, err := image.ParseAnnotation(text)
		if err != nil {
			return nil, err
		}
		t.annotations = append(t.annotations, a...)
	}
	if r.Push {
		if err := t.pushTo(r.Tags, output.PushNames); err != nil {
			return nil, err
		}
	}
	specs, err := output.ParseSpecs(r.Outputs)
	if err != nil {
		return nil, err
	}
	for _, s := range specs {
		if err := t.add(s, r.Tags); err != nil {
			return nil, fmt.Errorf("output type=%s: %w", s.Type, err)
		}
	}
	return t, nil
}

// add takes one output.
func (t *targets) add(s output.Spec, tags []string) error {
	t.annotations = append(t.annotations, s.Annotations...)
	if s.Format != "" && t.formatSet != "" && t.formatSet != s.Format {
		return fmt.Errorf("oci-mediatypes: another output wants the %s format, and an image has one", t.formatSet)
	}
	if s.Format != "" {
		t.format, t.formatSet = s.Format, s.Format
	}
	if s.CompressionLevel != nil {
		if t.level != nil && *t.level != *s.CompressionLevel {
			return fmt.Errorf("compression-level=%d: another output wants %d, and an image has one", *s.CompressionLevel, *t.level)
		}
		t.level = s.CompressionLevel
	}
	if s.Rewrite != nil {
		if t.rewrite != nil && *t.rewrite != *s.Rewrite {
			return errors.New("rewrite-timestamp: another output wants it otherwise, and an image has one form")
		}
		t.rewrite = s.Rewrite
	}
	if s.ForceCompression {
		t.base = stage.ForceCompression
	}
	if s.Compression != "" {
		if t.compression != "" && t.compression != s.Compression {
			return fmt.Errorf("compression=%s: another output wants %s, and an image has one compression", s.Compression, t.compression)
		}
		t.compression = s.Compression
	}
	switch s.Type {
	case output.TypeImage:
		names := append(slices.Clone(s.Names), tags...)
		t.names = append(t.names, s.Names...)
		if s.Push == output.PushNothing {
			return nil
		}
		if s.Insecure {
			for _, name := range names {
				if ref, err := registry.ParseReference(name); err == nil {
					t.insecure = append(t.insecure, ref.Registry)
				}
			}
		}
		return t.pushTo(names, s.Push)
	case output.TypeCacheOnly:
	default:
		for _, name := range s.Names {
			if _, err := tagReference(name); err != nil {
				return err
			}
		}
		t.names = append(t.names, s.Names...)
		t.outputs = append(t.outputs, s)
	}
	return nil
}

// pushTo adds names to push to.
func (t *targets) pushTo(names []string, how output.Push) error {
	if len(names) == 0 {
		return &Error{errors.New("push: the image has no name"), "name it with -t registry.example.com/app:1"}
	}
	for _, name := range names {
		ref, err := tagReference(name)
		if err != nil {
			return err
		}
		if how == output.PushDigest {
			ref.Tag = ""
		}
		if !slices.Contains(t.push, ref) {
			t.push = append(t.push, ref)
		}
	}
	return nil
}

// tagReference reads the name of an image that is made: it cannot have a digest yet.
func tagReference(name string) (registry.Reference, error) {
	ref, err := registry.ParseReference(name)
	if err != nil {
		return ref, fmt.Errorf("tag %q: %w", name, err)
	}
	if ref.Digest != "" || strings.Contains(name, "@") {
		return ref, fmt.Errorf("tag %q: an image that is yet to be built can have no digest", name)
	}
	return ref, nil
}
