package image

import (
	"slices"
	"time"
)

// Step is an instruction as the image remembers it: an entry of the history, and the layer it made, if it made one.
type Step struct {
	CreatedBy string // the instruction's text, as `docker history` shows it
	Comment   string
	Author    string
	// Created is when the layer was made; that of a cached layer is when it was made first, so that building it from
	// the cache gives the same image. An instruction without a layer needs none: see [Assemble].
	Created time.Time
	Layer   *Layer
}

// baseHistory is the history of a base with exactly one non-empty entry a layer, as Docker demands. Tools that make images
// without a Dockerfile write too few.
func baseHistory(base *Base) []History {
	history := slices.Clone(base.Image.History)
	layers := 0
	for i := range history {
		if history[i].EmptyLayer {
			continue
		}
		if layers == len(base.Layers) {
			history[i].EmptyLayer = true
			continue
		}
		layers++
	}
	for ; layers < len(base.Layers); layers++ {
		history = append(history, History{Created: base.Image.Created, Comment: "layer of " + base.Name})
	}
	return history
}

// stepHistory is the history of the steps, with times: without an epoch a step that has no time takes that of the next
// layer of its build, else of the one before, else that of the base. With an epoch all have that.
func stepHistory(steps []Step, epoch, base *time.Time) []History {
	history := make([]History, len(steps))
	for i, s := range steps {
		history[i] = History{CreatedBy: s.CreatedBy, Comment: s.Comment, Author: s.Author, EmptyLayer: s.Layer == nil}
		if !s.Created.IsZero() {
			t := s.Created.UTC()
			history[i].Created = &t
		}
		if epoch != nil {
			history[i].Created = epoch
		}
	}
	var next *time.Time
	for i := range slices.Backward(history) {
		if history[i].Created != nil {
			next = history[i].Created
		} else {
			history[i].Created = next
		}
	}
	last := base
	for i := range history {
		if history[i].Created == nil {
			history[i].Created = last
		}
		last = history[i].Created
	}
	return history
}

// inOrder moves the times of steps forward that seem to lie before the entry above: a layer's time is in whole seconds, and
// a base may have been made within the same one.
func inOrder(steps []History, last *time.Time) {
	for i := range steps {
		t := steps[i].Created
		if t != nil && last != nil && t.Before(*last) && t.Unix() == last.Unix() {
			steps[i].Created = last
		}
		last = steps[i].Created
	}
}

// lastCreated is the time of the last entry that has one.
func lastCreated(history []History) *time.Time {
	for i := range slices.Backward(history) {
		if history[i].Created != nil {
			return history[i].Created
		}
	}
	return nil
}
