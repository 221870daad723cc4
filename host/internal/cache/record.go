package cache

import (
	"encoding/json"
	"fmt"

	"github.com/trowel-build/trowel/sdk"
)

// Record is what is kept of a step: the layer that it made.
type Record struct {
	Layer LayerRecord `json:"layer"`
}

// LayerRecord says where a layer and its index are.
type LayerRecord struct {
	DiffID string `json:"diffID"`
	// Below is the chain of the layers that the step was run on. Records are found one by one, and two that do not fit
	// together may be found side by side: of builds that ran at once, or where a cache lost one of a build.
	Below string     `json:"below"`
	Blob  sdk.Digest `json:"blob"`
	Size  int64      `json:"size"` // of the blob
	// MediaType of the blob, an OCI one.
	MediaType string `json:"mediaType"`
	// Level of the blob's compression; 0 is the default one.
	Level     int        `json:"level,omitempty"`
	Index     sdk.Digest `json:"index"`
	IndexSize int64      `json:"indexSize"`
	// Created is when the layer was made, in seconds since the epoch: the time that history shows.
	Created int64 `json:"created"`
}

// Encode is the record as backends keep it.
func (r Record) Encode() ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode cache record: %w", err)
	}
	return text, nil
}

// decode reads a record that a backend gave. A backend may hold anything: what is not whole is a miss.
func decode(value []byte) (Record, bool) {
	var r Record
	if err := json.Unmarshal(value, &r); err != nil {
		return Record{}, false
	}
	l := r.Layer
	if l.DiffID == "" || l.Below == "" || l.Blob == "" || l.Index == "" || l.MediaType == "" || l.Size <= 0 || l.IndexSize <= 0 {
		return Record{}, false
	}
	return r, true
}
