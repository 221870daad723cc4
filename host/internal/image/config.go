// Package image makes and reads the documents that describe an image: its config, its manifest and the index above it.
//
// Everything here is pure: documents in, documents out, as bytes whose digests are stable. Fetching, storing and pushing
// them is the business of other packages.
package image

import (
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Image is the image config document: what a config blob holds. Its JSON has the names, the order and the omissions of
// what BuildKit writes: the outer keys sorted, those of Config in the order of the OCI specification, Docker's own last.
//
// Keys that neither the OCI nor Docker's image specification know are dropped when a base is read, as Docker drops them:
// they describe the base, and nobody can say whether they hold for what is built on it.
type Image struct {
	Architecture string     `json:"architecture"`
	Author       string     `json:"author,omitempty"`
	Config       Config     `json:"config"`
	Created      *time.Time `json:"created,omitempty"`
	History      []History  `json:"history,omitempty"`
	OS           string     `json:"os"`
	OSFeatures   []string   `json:"os.features,omitempty"`
	OSVersion    string     `json:"os.version,omitempty"`
	RootFS       RootFS     `json:"rootfs"`
	Variant      string     `json:"variant,omitempty"`
}

// Config is how containers of the image are run: the "config" of the image config document. Use [Config.Clone] before
// changing one that something else may hold.
type Config struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"` // "80/tcp"
	Env          []string            `json:"Env,omitempty"`          // "NAME=value", each name once, in order of first mention
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
	ArgsEscaped  bool                `json:"ArgsEscaped,omitempty"` // Windows only; kept as the base has it

	Healthcheck *Healthcheck `json:"Healthcheck,omitempty"`
	OnBuild     []string     `json:"OnBuild,omitempty"`
	Shell       []string     `json:"Shell,omitempty"`
}

// Healthcheck is how a running container is asked for its health. A zero field means Docker's default.
type Healthcheck struct {
	// Test is ["NONE"], ["CMD", argument...] or ["CMD-SHELL", command]; empty means what the base says.
	Test          []string      `json:"Test,omitempty"`
	Interval      time.Duration `json:"Interval,omitempty"` // these are nanoseconds in JSON
	Timeout       time.Duration `json:"Timeout,omitempty"`
	StartPeriod   time.Duration `json:"StartPeriod,omitempty"`
	StartInterval time.Duration `json:"StartInterval,omitempty"`
	Retries       int           `json:"Retries,omitempty"`
}

// RootFS lists the diff IDs of the layers, the lowest first.
type RootFS struct {
	Type    string          `json:"type"`
	DiffIDs []digest.Digest `json:"diff_ids"`
}

// History is one line of `docker history`: an instruction, and whether it made a layer.
type History struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Author     string     `json:"author,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// Clone copies c with all that it points to.
func (c Config) Clone() Config {
	c.ExposedPorts = maps.Clone(c.ExposedPorts)
	c.Env = slices.Clone(c.Env)
	c.Entrypoint = slices.Clone(c.Entrypoint)
	c.Cmd = slices.Clone(c.Cmd)
	c.Volumes = maps.Clone(c.Volumes)
	c.Labels = maps.Clone(c.Labels)
	c.OnBuild = slices.Clone(c.OnBuild)
	c.Shell = slices.Clone(c.Shell)
	if c.Healthcheck != nil {
		h := *c.Healthcheck
		h.Test = slices.Clone(h.Test)
		c.Healthcheck = &h
	}
	return c
}
