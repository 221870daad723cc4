package objects

import (
	"strings"
	"testing"

	"github.com/trowel-build/trowel/sdk"
)

// Keys that differ have names that differ, and none is a directory of another.
func TestNames(t *testing.T) {
	t.Parallel()
	seen := map[string]sdk.Key{}
	for _, key := range []sdk.Key{"a", "a/b", "a//b", "/a/b", "a/b/", "a-b", "a:b", ":", "::", "/", "a/:b", "a:/b"} {
		name, ok := recordName(key)
		if other, twice := seen[name]; twice || !ok {
			t.Errorf("%q and %q are both at %q", key, other, name)
		}
		seen[name] = key
		if last := strings.TrimPrefix(name, "records/"); strings.Contains(last, "/") || last == "." || last == ".." {
			t.Errorf("%q is at %q", key, name)
		}
	}
	for _, key := range []sdk.Key{"", "A", "a b", "a_b", "a~b", "é", "..", sdk.Key(strings.Repeat("a", 201))} {
		if name, ok := recordName(key); ok {
			t.Errorf("%q is no key and is at %q", key, name)
		}
	}
	const sum = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	if name, ok := BlobName("sha256:" + sum); name != "blobs/sha256/"+sum || !ok {
		t.Errorf("a blob is at %q", name)
	}
	for _, digest := range []sdk.Digest{"", sum, "sha256:", sdk.Digest("sha256:" + sum[1:]), "sha512:" + sdk.Digest(sum), "sha256:" + sdk.Digest(strings.ToUpper(sum)), sdk.Digest("sha256:../" + sum[3:])} {
		if name, ok := BlobName(digest); ok {
			t.Errorf("%q is no digest and is at %q", digest, name)
		}
	}
}
