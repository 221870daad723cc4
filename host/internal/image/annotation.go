package image

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// AnnotationTarget says on which document an annotation is put.
type AnnotationTarget string

// The targets of an annotation.
const (
	OnManifest           AnnotationTarget = "manifest"
	OnManifestDescriptor AnnotationTarget = "manifest-descriptor" // what an index says of a manifest
	OnIndex              AnnotationTarget = "index"
	OnIndexDescriptor    AnnotationTarget = "index-descriptor" // what an OCI layout says of an index
)

var annotationTargets = []AnnotationTarget{OnManifest, OnManifestDescriptor, OnIndex, OnIndexDescriptor}

// Annotation is a key and a value on one document.
type Annotation struct {
	Target   AnnotationTarget
	Platform *ocispec.Platform // nil: whatever the platform
	Key      string
	Value    string
}

// Annotations are those of a build; a later one replaces an equal one before it, and one with a platform those without.
type Annotations []Annotation

var (
	// typePattern is a target with a platform, as --annotation has it.
	typePattern = regexp.MustCompile(`^([a-z-]*)(?:\[([A-Za-z0-9_/.-]+)\])?$`)
	// attributePattern is the key of an annotation in --output.
	attributePattern = regexp.MustCompile(`^annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/.-]+)\])?\.(\S+)$`)
)

// ParseAnnotation reads a value of --annotation: "key=value", or with targets before it as in
// "index,manifest[linux/amd64]:key=value".
func ParseAnnotation(s string) (Annotations, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return nil, fmt.Errorf("annotation %q has no value: write key=value", s)
	}
	types, key, ok := strings.Cut(name, ":")
	if !ok {
		types, key = "", name
	}
	if key == "" {
		return nil, fmt.Errorf("annotation %q has no key: write key=value", s)
	}
	var out Annotations
	for t := range strings.SplitSeq(types, ",") {
		groups := typePattern.FindStringSubmatch(t)
		if groups == nil {
			return nil, fmt.Errorf("annotation %q: target %q is not of the form target[platform]", s, t)
		}
		a, err := newAnnotation(groups[1], groups[2])
		if err != nil {
			return nil, fmt.Errorf("annotation %q: %w", s, err)
		}
		a.Key, a.Value = key, value
		out = append(out, a)
	}
	return out, nil
}

// IsAnnotationAttribute says whether a key of --output is meant to be an annotation.
func IsAnnotationAttribute(key string) bool {
	return strings.HasPrefix(key, "annotation.") || strings.HasPrefix(key, "annotation-") || strings.HasPrefix(key, "annotation[")
}

// ParseAnnotationAttribute reads a key of --output such as "annotation-manifest[linux/amd64].org.example.key" with its value.
func ParseAnnotationAttribute(attribute, value string) (Annotation, error) {
	groups := attributePattern.FindStringSubmatch(attribute)
	if groups == nil {
		return Annotation{}, fmt.Errorf("%q is not of the form annotation-target[platform].key", attribute)
	}
	a, err := newAnnotation(groups[1], groups[2])
	if err != nil {
		return Annotation{}, fmt.Errorf("%q: %w", attribute, err)
	}
	a.Key, a.Value = groups[3], value
	return a, nil
}

func newAnnotation(target, platform string) (Annotation, error) {
	a := Annotation{Target: AnnotationTarget(target)}
	if target == "" {
		a.Target = OnManifest
	}
	if !slices.Contains(annotationTargets, a.Target) {
		return Annotation{}, fmt.Errorf("target %q is none of %q", target, annotationTargets)
	}
	if platform != "" {
		p, err := platforms.Parse(platform)
		if err != nil {
			return Annotation{}, fmt.Errorf("platform %q: %w", platform, err)
		}
		p = platforms.Normalize(p)
		a.Platform = &p
	}
	return a, nil
}

// For gives the annotations on one kind of document; nil if there are none. platform is that of a manifest.
func (a Annotations) For(target AnnotationTarget, platform *ocispec.Platform) map[string]string {
	var out map[string]string
	put := func(x Annotation) {
		if out == nil {
			out = map[string]string{}
		}
		out[x.Key] = x.Value
	}
	for _, x := range a {
		if x.Target == target && x.Platform == nil {
			put(x)
		}
	}
	for _, x := range a {
		if x.Target == target && x.Platform != nil && platform != nil && platforms.FormatAll(*x.Platform) == platforms.FormatAll(platforms.Normalize(*platform)) {
			put(x)
		}
	}
	return out
}

type manifestAnnotations struct {
	manifest, manifestDescriptor map[string]string
}

// forManifest gives the annotations of a manifest and of its descriptor. It refuses those that an image for a single
// platform has no place for.
func (a Annotations) forManifest(format Format, platform ocispec.Platform) (manifestAnnotations, error) {
	if err := a.CheckSingle(); err != nil {
		return manifestAnnotations{}, err
	}
	if format == Docker && len(a) > 0 {
		return manifestAnnotations{}, fmt.Errorf("annotation %q: Docker's media types have no annotations: use the OCI format", a[0].Key)
	}
	return manifestAnnotations{
		manifest:           a.For(OnManifest, &platform),
		manifestDescriptor: a.For(OnManifestDescriptor, &platform),
	}, nil
}

// CheckSingle refuses those that an image without an index has no place for.
func (a Annotations) CheckSingle() error {
	for _, x := range a {
		if x.Target == OnIndex || x.Target == OnIndexDescriptor {
			return fmt.Errorf("annotation %q is for the %s, and an image for a single platform has none: write manifest:%s", x.Key, x.Target, x.Key)
		}
	}
	return nil
}

// CheckPlatforms refuses those for a platform that no image is made for.
func (a Annotations) CheckPlatforms(built []ocispec.Platform) error {
	for _, x := range a {
		if x.Platform == nil {
			continue
		}
		wanted := platforms.FormatAll(*x.Platform)
		if !slices.ContainsFunc(built, func(p ocispec.Platform) bool { return platforms.FormatAll(platforms.Normalize(p)) == wanted }) {
			return fmt.Errorf("annotation %q is for platform %s, and no image is built for that", x.Key, wanted)
		}
	}
	return nil
}

// Manifests are those that belong to a manifest or its descriptor: what [Assemble] takes for one image of several under an
// index.
func (a Annotations) Manifests() Annotations {
	var out Annotations
	for _, x := range a {
		if x.Target == OnManifest || x.Target == OnManifestDescriptor {
			out = append(out, x)
		}
	}
	return out
}
