package imagediff

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Options say what two builds of the same Dockerfile may differ in.
type Options struct {
	// Since is when the first build began. Times from then on are those of the build itself and compare as equal;
	// a time before it was given by somebody, and must be the same. Only a directory that the wanted image has of
	// the time of its build may have any time in the other: that something was put into it need not be told.
	Since time.Time
	// Content has patterns, as of [path.Match], of paths whose content and size may differ, each with the reason.
	Content map[string]string
}

// Diff returns how two images differ, or nothing if they are the same in all that matters: file tree, config,
// history, times, author, annotations, media types and number of layers.
func Diff(want, got *Image, options Options) string {
	var out strings.Builder
	section := func(title, diff string) {
		if diff != "" {
			out.WriteString(title + " (-want +got):\n" + diff)
		}
	}
	one, other := treeDifference(want.Tree, got.Tree, options)
	section("file tree", cmp.Diff(one, other))
	section("config", cmp.Diff(want.Config, got.Config))
	section("platform", cmp.Diff(want.Platform, got.Platform))
	section("author", cmp.Diff(want.Author, got.Author))
	section("time", cmp.Diff(options.levelTime(want.Created), options.levelTime(got.Created)))
	section("history", cmp.Diff(options.levelHistory(want.History), options.levelHistory(got.History), cmpopts.EquateEmpty()))
	section("number of layers", cmp.Diff(len(want.Layers), len(got.Layers)))
	section("annotations", cmp.Diff(want.Annotations, got.Annotations, cmpopts.EquateEmpty()))
	section("media types", cmp.Diff(want.MediaTypes, got.MediaTypes))
	return out.String()
}

// treeDifference returns the entries of both trees that differ, so that cmp is not given ten thousand that do not.
func treeDifference(want, got map[string]Entry, options Options) (one, other map[string]Entry) {
	one, other = map[string]Entry{}, map[string]Entry{}
	for name, entry := range want {
		same, found := got[name]
		entry, same = options.level(name, entry), options.level(name, same)
		if entry.Type == "directory" && entry.Time.Equal(built()) {
			same.Time = entry.Time
		}
		if found && cmp.Equal(entry, same, cmpopts.EquateEmpty()) {
			continue
		}
		one[name] = entry
		if found {
			other[name] = same
		}
	}
	for name, entry := range got {
		if _, found := want[name]; !found {
			other[name] = options.level(name, entry)
		}
	}
	return one, other
}

// Level returns the image with the times that its build made all the same, for what is kept longer than a build.
func (o Options) Level(image *Image) *Image {
	leveled := *image
	leveled.Created, leveled.History, leveled.Tree = o.levelTime(image.Created), o.levelHistory(image.History), map[string]Entry{}
	for name, entry := range image.Tree {
		leveled.Tree[name] = o.level(name, entry)
	}
	return &leveled
}

func (o Options) levelTime(t time.Time) time.Time {
	if !t.Before(o.Since.Truncate(time.Second)) {
		return built()
	}
	return t
}

func (o Options) levelHistory(history []History) []History {
	leveled := slices.Clone(history)
	for i := range leveled {
		leveled[i].Created = o.levelTime(leveled[i].Created)
	}
	return leveled
}

// level returns the entry without what may differ.
func (o Options) level(name string, entry Entry) Entry {
	entry.Time = o.levelTime(entry.Time)
	if entry.Type == "file" && o.contentMayDiffer(name) {
		entry.Digest, entry.Text, entry.Size = "", "", 0
	}
	return entry
}

// contentMayDiffer reports whether a pattern of Content matches.
func (o Options) contentMayDiffer(name string) bool {
	for pattern := range o.Content {
		ok, err := path.Match(pattern, name)
		if err != nil {
			panic("imagediff: malformed pattern " + pattern)
		}
		if ok {
			return true
		}
	}
	return false
}

// built is the time given to entries that the build made, one that nobody gives a file.
func built() time.Time { return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }
