package layer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// debian is an index like that of Debian: real paths are about as long.
func debian(files int) Index {
	x := Index{Inline: Inline{}}
	x.Inline.add([]byte("root:x:0:0:root:/root:/bin/bash\n"))
	offset := int64(0)
	for i := range files {
		if i%12 == 0 {
			x.Entries = append(x.Entries, filetree.Entry{Path: fmt.Sprintf("usr/share/doc/package-%04d", i/12), Type: filetree.Directory, Mode: 0o755, ModTime: 1_700_000_000_000_000_000})
			offset += 512
		}
		e := filetree.Entry{
			Path: fmt.Sprintf("usr/share/doc/package-%04d/file-%d.gz", i/12, i%12), Type: filetree.Regular, Mode: 0o644,
			Size: int64(i * 7919 % 90_000), ModTime: int64(1_600_000_000+i/12*100_000) * int64(time.Second), Offset: offset + 512,
		}
		e.Digest = sha256.Sum256([]byte(e.Path))
		offset = e.Offset + e.Size + int64(pad(e.Size))
		x.Entries = append(x.Entries, e)
	}
	return x
}

func TestIndexSize(t *testing.T) {
	t.Parallel()
	x := debian(11_000)
	data, err := EncodeIndex(x)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes an entry", len(data)/len(x.Entries))
	if len(data)/len(x.Entries) > 100 {
		t.Errorf("%d bytes an entry", len(data)/len(x.Entries))
	}
	got, err := DecodeIndex(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&x, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestIndexRoundTrip(t *testing.T) {
	t.Parallel()
	for name, entries := range map[string][]filetree.Entry{
		"empty": nil,
		"every type": {
			{Path: "", Type: filetree.Directory, Mode: 0o755},
			{Path: "", Type: filetree.Opaque},
			{Path: "a", Type: filetree.Whiteout},
			{Path: "b", Type: filetree.Symlink, Link: "../x"},
			{Path: "b/c", Type: filetree.Hardlink, Link: "b"},
			{Path: "b", Type: filetree.CharDevice, Major: math.MaxUint32, Minor: 1},
			{Path: "c", Type: filetree.BlockDevice},
			{Path: "d", Type: filetree.FIFO, Mode: 0o7777},
			{Path: "e", Type: filetree.Regular, Size: math.MaxInt64, Offset: math.MaxInt64 &^ 511},
			{Path: "f", Type: filetree.Regular, Digest: filetree.Digest{1}},
		},
		"times": {
			{Path: "a", Type: filetree.FIFO, ModTime: -1},
			{Path: "b", Type: filetree.FIFO, ModTime: 1},
			{Path: "c", Type: filetree.FIFO, ModTime: 1},
			{Path: "d", Type: filetree.FIFO, ModTime: math.MaxInt64 - int64(time.Second)},
			{Path: "e", Type: filetree.FIFO, ModTime: -(1 << 62)},
		},
		"xattrs":   {{Path: "a", Type: filetree.Regular, Xattrs: map[string]string{"b": "", "a": "\x00", "c": strings.Repeat("x", 60<<10)}}},
		"no order": {{Path: "z", Type: filetree.FIFO}, {Path: "a", Type: filetree.FIFO}, {Path: "z", Type: filetree.FIFO}},
	} {
		x := Index{Entries: entries, Inline: Inline{}}
		data, err := EncodeIndex(x)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := DecodeIndex(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(&x, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestIndexOfDeepTree: paths that share nearly everything are decoded too, though within the decoder's limit on memory.
func TestIndexOfDeepTree(t *testing.T) {
	t.Parallel()
	x := Index{Inline: Inline{}}
	deep := strings.Repeat("0123456789/", 350)
	for i := range 2000 {
		x.Entries = append(x.Entries, filetree.Entry{Path: fmt.Sprintf("%s%d", deep, i), Type: filetree.FIFO})
	}
	data, err := EncodeIndex(x)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeIndex(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&x, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]filetree.Entry{
		"unclean":         {Path: "a//b", Type: filetree.FIFO},
		"no type":         {Path: "a"},
		"mode":            {Path: "a", Type: filetree.FIFO, Mode: 0o10000},
		"offset":          {Path: "a", Type: filetree.Regular, Offset: 7},
		"negative size":   {Path: "a", Type: filetree.Regular, Size: -1},
		"fifo with bytes": {Path: "a", Type: filetree.FIFO, Size: 1},
	} {
		if _, err := EncodeIndex(Index{Entries: []filetree.Entry{e}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// sealed gives data the checksum that makes the decoder look at it.
func sealed(data string) []byte {
	return binary.LittleEndian.AppendUint32([]byte(data), crc32.Checksum([]byte(data), castagnoli))
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	good, err := EncodeIndex(debian(100))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeIndex(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if _, err := DecodeIndex(bad); err == nil {
			t.Fatalf("damage at byte %d was not noticed", i)
		}
		if _, err := DecodeIndex(good[:i]); err == nil {
			t.Fatalf("the first %d bytes were accepted", i)
		}
	}
	fifo := string([]byte{byte(filetree.FIFO) | sameOwner | sameTime})
	many := "\xc0\xbc\x80\x02" // 4,202,048
	for name, data := range map[string]string{
		"more entries than bytes":    indexMagic + many,
		"more inline than bytes":     indexMagic + "\x00" + many,
		"long name":                  indexMagic + "\x01" + fifo + "\x00\xff\xff\x03a\x00",
		"shares too much":            indexMagic + "\x01" + fifo + "\x05\x01a\x00",
		"escapes":                    indexMagic + "\x01" + fifo + "\x00\x02..\x00",
		"absolute":                   indexMagic + "\x01" + fifo + "\x00\x02/a\x00",
		"type 0":                     indexMagic + "\x01" + string([]byte{sameOwner | sameTime}) + "\x00\x01a\x00",
		"something follows":          indexMagic + "\x00\x00x",
		"another version":            indexMagic[:len(indexMagic)-1] + "\x02\x00\x00",
		"paths that fill the memory": indexMagic + "\xa0\x8d\x06" + fifo + "\x00\x80\x20" + strings.Repeat("a", 4096) + strings.Repeat(fifo+"\x80\x20\x00", 99_999) + "\x00",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		x, err := DecodeIndex(sealed(data))
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: accepted with %d entries", name, len(x.Entries))
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 100<<20 {
			t.Errorf("%s: %d bytes made the decoder allocate %d", name, len(data), took)
		}
	}
}

func FuzzDecodeIndex(f *testing.F) {
	x := debian(30)
	x.Entries = append(x.Entries, filetree.Entry{Path: "x", Type: filetree.Symlink, Link: "y", ModTime: 1, Xattrs: map[string]string{"a": "b"}}, filetree.Entry{Path: "y", Type: filetree.CharDevice, Major: 1})
	good, err := EncodeIndex(x)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[len(indexMagic) : len(good)-4])
	f.Add([]byte("\x01\x16\x00\x01a\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		x, err := DecodeIndex(sealed(indexMagic + string(body)))
		if err != nil {
			return
		}
		data, err := EncodeIndex(*x)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeIndex(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(x, again); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}
