package plugintest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/trowel-build/trowel/sdk"
)

func blobChecks() []check[sdk.Cache] {
	return []check[sdk.Cache]{
		{"blobs/round trip by Open", func(t *testing.T, c sdk.Cache) { blobRoundTrip(t, c, inMemory) }},
		{"blobs/round trip by File", func(t *testing.T, c sdk.Cache) {
			blobRoundTrip(t, c, func(b []byte) sdk.Content { return inFile(t, b) })
		}},
		{"blobs/what is missing is not found", blobMissing},
		{"blobs/a batch of 1000", blobBatch},
		{"blobs/putting one again is no error", blobAgain},
		{"blobs/concurrent puts of one", blobConcurrent},
		{"blobs/content can be opened twice", blobOpenTwice},
		{"blobs/a put file can go", blobFileGone},
		{"blobs/a put file is not changed", blobFileKept},
	}
}

func putBlob(t *testing.T, c sdk.BlobStore, content []byte, as sdk.Content) {
	t.Helper()
	if err := c.PutBlob(t.Context(), blobOf(content), as); err != nil {
		t.Fatalf("PutBlob of %d bytes: %v", len(content), err)
	}
}

func blobRoundTrip(t *testing.T, c sdk.Cache, offer func([]byte) sdk.Content) {
	for name, content := range map[string][]byte{
		"empty": {}, "a byte": []byte("x"), "text": []byte("a small layer\n"), "3 MiB": noise("large", 3<<20+17),
	} {
		t.Run(name, func(t *testing.T) {
			putBlob(t, c, content, offer(content))
			mustHold(t, c, content)
			want := blobOf(content)
			blobs, err := c.StatBlobs(t.Context(), []sdk.Digest{want.Digest})
			if err != nil {
				t.Fatalf("StatBlobs: %v", err)
			}
			if len(blobs) != 1 || blobs[0] != want {
				t.Errorf("StatBlobs = %v, want %v", blobs, want)
			}
		})
	}
}

func blobMissing(t *testing.T, c sdk.Cache) {
	putBlob(t, c, []byte("another blob"), inMemory([]byte("another blob")))
	mustLack(t, c, blobOf([]byte("never put")).Digest)
}

func blobBatch(t *testing.T, c sdk.Cache) {
	held := map[sdk.Blob]bool{}
	var digests []sdk.Digest
	for i := range 1000 {
		content := noise(fmt.Sprint("blob ", i), 10+i%50)
		digests = append(digests, blobOf(content).Digest)
		if i%20 == 0 {
			putBlob(t, c, content, inMemory(content))
			held[blobOf(content)] = true
		}
	}
	blobs, err := c.StatBlobs(t.Context(), digests)
	if err != nil {
		t.Fatalf("StatBlobs of 1000: %v", err)
	}
	for _, b := range blobs {
		if !held[b] {
			t.Errorf("StatBlobs answered %v, which was not put", b)
		}
	}
	if len(blobs) != len(held) {
		t.Errorf("StatBlobs answered %d blobs, want %d", len(blobs), len(held))
	}
	if blobs, err := c.StatBlobs(t.Context(), nil); err != nil || len(blobs) > 0 {
		t.Errorf("StatBlobs of none = %v, %v", blobs, err)
	}
}

func blobAgain(t *testing.T, c sdk.Cache) {
	content := noise("again", 5000)
	for range 2 {
		putBlob(t, c, content, inMemory(content))
		putBlob(t, c, content, inFile(t, content))
	}
	mustHold(t, c, content)
}

func blobConcurrent(t *testing.T, c sdk.Cache) {
	content := noise("contended", 1<<20)
	var wg sync.WaitGroup
	for i := range 8 {
		offer := inMemory(content)
		if i%2 == 1 {
			offer = inFile(t, content)
		}
		wg.Go(func() {
			if err := c.PutBlob(t.Context(), blobOf(content), offer); err != nil {
				t.Errorf("PutBlob: %v", err)
				return
			}
			held, err := c.GetBlob(t.Context(), blobOf(content).Digest)
			if err != nil {
				t.Errorf("GetBlob after PutBlob: %v", err)
				return
			}
			if got, err := readAll(t.Context(), held); err != nil || !bytes.Equal(got, content) {
				t.Errorf("after PutBlob the cache answers %d bytes that are not the %d put: %v", len(got), len(content), err)
			}
		})
	}
	wg.Wait()
	mustHold(t, c, content)
}

func blobOpenTwice(t *testing.T, c sdk.Cache) {
	content := noise("twice", 200_000)
	putBlob(t, c, content, inMemory(content))
	held, err := c.GetBlob(t.Context(), blobOf(content).Digest)
	if err != nil {
		t.Fatalf("GetBlob: %v", err)
	}
	first, err := held.Open(t.Context())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	head := make([]byte, 1000)
	if _, err := io.ReadFull(first, head); err != nil {
		t.Fatalf("read the start: %v", err)
	}
	if second, err := readAll(t.Context(), held); err != nil || !bytes.Equal(second, content) {
		t.Errorf("a second Open does not give the content from its start: %d bytes, error %v", len(second), err)
	}
	rest, err := io.ReadAll(first)
	if err != nil || !bytes.Equal(append(head, rest...), content) {
		t.Errorf("a second Open disturbs the first: error %v", err)
	}
	if err := first.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func blobFileGone(t *testing.T, c sdk.Cache) {
	content := noise("gone", 50_000)
	offer := inFile(t, content)
	putBlob(t, c, content, offer)
	if err := os.Remove(offer.File); err != nil {
		t.Fatalf("the cache took the file away: %v", err)
	}
	mustHold(t, c, content)
}

func blobFileKept(t *testing.T, c sdk.Cache) {
	content := noise("kept", 50_000)
	offer := inFile(t, content)
	before, err := os.Stat(offer.File)
	if err != nil {
		t.Fatal(err)
	}
	putBlob(t, c, content, offer)
	mustHold(t, c, content)
	after, err := os.Stat(offer.File)
	if err != nil {
		t.Fatalf("the cache took the file away: %v", err)
	}
	if before.Mode() != after.Mode() {
		t.Errorf("the file's mode was %s and is %s", before.Mode(), after.Mode())
	}
	if got, err := os.ReadFile(offer.File); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the file's content was changed: error %v", err)
	}
}
