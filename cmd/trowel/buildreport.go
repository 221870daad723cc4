package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host"
)

// report writes what was built to where it was asked for.
func (p program) report(f *buildFlags, result host.Result) error {
	if f.iidFile != "" {
		if err := os.WriteFile(f.iidFile, []byte(imageID(result)), 0o644); err != nil {
			return fmt.Errorf("write --iidfile: %w", err)
		}
	}
	if f.metadataFile != "" {
		text, err := json.MarshalIndent(metadata(result), "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(f.metadataFile, append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("write --metadata-file: %w", err)
		}
	}
	for _, o := range f.outputs {
		if o == "-" || slices.Contains(strings.Split(o, ","), "dest=-") {
			return nil // standard output is the image
		}
	}
	_, err := io.WriteString(p.stdout, result.Digest+"\n")
	return err
}

// imageID is what docker calls an image: its config, or the index where there are several.
func imageID(r host.Result) string {
	if only, ok := single(r); ok {
		return only.Config
	}
	return r.Digest
}

// single is the image of a build that made no index.
func single(r host.Result) (host.ResultImage, bool) {
	return r.Images[0], r.Images[0].Digest == r.Digest
}

// metadata has buildx's keys.
func metadata(r host.Result) map[string]any {
	descriptor := map[string]any{"mediaType": r.MediaType, "digest": r.Digest, "size": r.Size}
	m := map[string]any{"containerimage.digest": r.Digest, "containerimage.descriptor": descriptor}
	if only, ok := single(r); ok {
		m["containerimage.config.digest"] = only.Config
		descriptor["platform"] = platformOf(only.Platform)
	}
	if len(r.Names) > 0 {
		m["image.name"] = strings.Join(r.Names, ",")
	}
	return m
}

func platformOf(p string) map[string]string {
	parts := strings.SplitN(p, "/", 3)
	m := map[string]string{"os": parts[0]}
	if len(parts) > 1 {
		m["architecture"] = parts[1]
	}
	if len(parts) > 2 {
		m["variant"] = parts[2]
	}
	return m
}
