// Package imagediff reads container images and says how two of them differ: in their file tree, their config, their
// history and their layers. It applies layers in memory and keeps digests, not content.
package imagediff

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Image is what an image holds.
type Image struct {
	// Tree has the entries of the merged file tree by their absolute path; the root itself is "/".
	Tree map[string]Entry
	// Config is the "config" object of the image config. Keys that are null are left out.
	Config map[string]any
	// Platform is its os, architecture and variant; Author its author.
	Platform, Author string
	Created          time.Time
	History          []History
	// Layers has the names in each layer, in the order of the archive.
	Layers [][]string
	// Annotations are those of the manifest.
	Annotations map[string]string
	// MediaTypes are those of the manifest, the config and each layer.
	MediaTypes []string
	// Faults are violations of what every image has to keep, such as a hard link before its target.
	Faults []string
}

// Entry is a file of any type.
type Entry struct {
	Type     string // file, directory, symlink, fifo, char or block
	Mode     string // permissions in octal, with setuid, setgid and sticky
	UID, GID int
	Size     int64
	Digest   string            `json:",omitempty"` // of the content of a file
	Text     string            `json:",omitempty"` // that content, if it is short and text
	Target   string            `json:",omitempty"` // of a symlink
	Device   string            `json:",omitempty"` // major:minor
	Xattrs   map[string]string `json:",omitempty"`
	Links    []string          `json:",omitempty"` // the other paths of the same inode, sorted
	Time     time.Time
}

// History is an entry of the history, as far as builders agree on it.
type History struct {
	CreatedBy  string
	Created    time.Time
	Author     string `json:",omitempty"`
	Comment    string `json:",omitempty"`
	EmptyLayer bool   `json:",omitempty"`
}

// Reader reads images. It remembers the layers it has read, so that a base is read once. A Reader may be used from
// several goroutines.
type Reader struct {
	mu     sync.Mutex
	layers map[v1.Hash]*layer
}

// NewReader returns a Reader that remembers nothing yet.
func NewReader() *Reader {
	return &Reader{layers: map[v1.Hash]*layer{}}
}

// Pull reads an image from a registry on loopback, of the platform that this program runs on.
func (r *Reader) Pull(ctx context.Context, reference string) (*Image, error) {
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return nil, fmt.Errorf("pull %q: %w", reference, err)
	}
	image, err := remote.Image(ref, remote.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("pull %q: %w", reference, err)
	}
	read, err := r.Read(image)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", reference, err)
	}
	return read, nil
}

// Read reads an image.
func (r *Reader) Read(source v1.Image) (*Image, error) {
	image := &Image{}
	if err := image.readConfig(source); err != nil {
		return nil, err
	}
	manifest, err := source.Manifest()
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	image.Annotations = manifest.Annotations
	image.MediaTypes = []string{string(manifest.MediaType), string(manifest.Config.MediaType)}
	for _, l := range manifest.Layers {
		image.MediaTypes = append(image.MediaTypes, string(l.MediaType))
	}
	layers, err := source.Layers()
	if err != nil {
		return nil, fmt.Errorf("read layers: %w", err)
	}
	t := newTree()
	for i, one := range layers {
		read, err := r.layer(one)
		if err != nil {
			return nil, fmt.Errorf("read layer %d: %w", i, err)
		}
		faults := append([]string{}, read.faults...)
		faults = append(faults, t.apply(read)...)
		for _, fault := range faults {
			image.Faults = append(image.Faults, fmt.Sprintf("layer %d: %s", i, fault))
		}
		image.Layers = append(image.Layers, read.names())
	}
	image.Tree = t.entries()
	image.checkHistory(len(layers))
	return image, nil
}

func (i *Image) readConfig(source v1.Image) error {
	raw, err := source.RawConfigFile()
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	var file struct {
		v1.ConfigFile
		// Shadows the typed one, which lacks the newer fields.
		Config map[string]any `json:"config"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	i.Config = file.Config
	maps.DeleteFunc(i.Config, func(_ string, value any) bool { return value == nil })
	i.Author, i.Created = file.Author, file.Created.UTC()
	i.Platform = strings.TrimSuffix(strings.Join([]string{file.OS, file.Architecture, file.Variant}, "/"), "/")
	for _, entry := range file.History {
		i.History = append(i.History, History{
			CreatedBy: entry.CreatedBy, Created: entry.Created.UTC(), Author: entry.Author, Comment: entry.Comment, EmptyLayer: entry.EmptyLayer,
		})
	}
	for n, entry := range file.History {
		if n > 0 && entry.Created.Before(file.History[n-1].Created.Time) {
			i.Faults = append(i.Faults, fmt.Sprintf("history %d (%s) was created before the one before it", n, entry.CreatedBy))
		}
	}
	return nil
}

func (i *Image) checkHistory(layers int) {
	filled := 0
	for _, entry := range i.History {
		if !entry.EmptyLayer {
			filled++
		}
	}
	if filled != layers {
		i.Faults = append(i.Faults, fmt.Sprintf("the history tells of %d layers, the manifest of %d", filled, layers))
	}
}

// layer returns the layer, read once.
func (r *Reader) layer(source v1.Layer) (*layer, error) {
	diffID, err := source.DiffID()
	if err != nil {
		return nil, fmt.Errorf("read diff ID: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if read := r.layers[diffID]; read != nil {
		return read, nil
	}
	read, err := readLayer(source, diffID)
	if err != nil {
		return nil, err
	}
	r.layers[diffID] = read
	return read, nil
}
