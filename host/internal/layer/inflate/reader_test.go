package inflate

import (
	"bytes"
	"compress/flate"
	stdgzip "compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/pgzip"
)

// text is n bytes that compress like prose and programs do: words, numbers and runs of zeros.
func text(n int, seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 1))
	words := make([]string, 500)
	for i := range words {
		w := make([]byte, 2+random.IntN(9))
		for j := range w {
			w[j] = byte('a' + random.IntN(26)*random.IntN(26)/26)
		}
		words[i] = string(w)
	}
	var b bytes.Buffer
	for b.Len() < n {
		switch random.IntN(40) {
		case 0:
			b.Write(make([]byte, random.IntN(600)))
		case 1:
			fmt.Fprintf(&b, "%x", random.Uint64())
		case 2:
			for range 12 {
				_ = binary.Write(&b, binary.LittleEndian, uint32(random.IntN(1<<18)))
			}
		default:
			b.WriteString(words[min(random.IntN(500), random.IntN(500))] + " ")
		}
	}
	return b.Bytes()[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // never fails
	return b
}

// repeats has long matches at many distances, the largest among them, and short ones at all the small distances.
func repeats() []byte {
	var b bytes.Buffer
	for distance := 1; distance <= historySize; distance += 1 + distance/7 {
		b.Write(noise(distance))
		for b2 := b.Bytes()[b.Len()-distance:]; len(b2) < distance+300; {
			b2 = append(b2, b2[len(b2)-distance])
			b.WriteByte(b2[len(b2)-1])
		}
	}
	far := noise(historySize)
	b.Write(far)
	b.Write(far[:1000])
	return b.Bytes()
}

func contents() map[string][]byte {
	return map[string][]byte{
		"nothing": {}, "a byte": {7}, "zeros": make([]byte, 3*outputSize), "text": text(700_000, 1), "noise": noise(400_000),
		"repeats": repeats(), "mixed": slices.Concat(text(100_000, 2), noise(100_000), make([]byte, 70_000), text(300_000, 3)),
	}
}

// writers make gzip in all the ways at hand.
func writers(t *testing.T) map[string]func(io.Writer) io.WriteCloser {
	made := map[string]func(io.Writer) io.WriteCloser{}
	for level := stdgzip.HuffmanOnly; level <= 9; level++ {
		made[fmt.Sprintf("standard %d", level)] = func(w io.Writer) io.WriteCloser {
			z, err := stdgzip.NewWriterLevel(w, level)
			if err != nil {
				t.Error(err)
			}
			return z
		}
		made[fmt.Sprintf("pgzip %d", level)] = func(w io.Writer) io.WriteCloser {
			z, err := pgzip.NewWriterLevel(w, level)
			if err != nil {
				t.Error(err)
			}
			return z
		}
	}
	for level := gzip.StatelessCompression; level <= 9; level++ {
		made[fmt.Sprintf("klauspost %d", level)] = func(w io.Writer) io.WriteCloser {
			z, err := gzip.NewWriterLevel(w, level)
			if err != nil {
				t.Error(err)
			}
			return z
		}
	}
	return made
}

func zipped(t testing.TB, data []byte, writer func(io.Writer) io.WriteCloser) []byte {
	t.Helper()
	var b bytes.Buffer
	z := writer(&b)
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func standard(w io.Writer) io.WriteCloser { return stdgzip.NewWriter(w) }

func unzip(r io.Reader) ([]byte, error) {
	z, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(struct{ io.Reader }{z})
}

func TestReader(t *testing.T) {
	t.Parallel()
	all := contents()
	for name, writer := range writers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for what, want := range all {
				z := zipped(t, want, writer)
				got, err := unzip(bytes.NewReader(z))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, %v; want %d", what, len(got), err, len(want))
				}
				var b bytes.Buffer
				if n, err := newReader(t, z).WriteTo(&b); err != nil || n != int64(len(want)) || !bytes.Equal(b.Bytes(), want) {
					t.Errorf("%s: WriteTo: %d bytes, %v; want %d", what, n, err, len(want))
				}
			}
		})
	}
}

func newReader(t *testing.T, z []byte) *Reader {
	t.Helper()
	r, err := NewReader(bytes.NewReader(z))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReaderOfSlowSources(t *testing.T) {
	t.Parallel()
	want := slices.Concat(text(60_000, 4), noise(3000), repeats()[:40_000])
	for _, level := range []int{stdgzip.HuffmanOnly, 0, 1, 9} {
		z := zipped(t, want, writers(t)[fmt.Sprintf("standard %d", level)])
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"one byte": iotest.OneByteReader, "half": iotest.HalfReader, "error with data": iotest.DataErrReader,
			"nothing in between": func(r io.Reader) io.Reader { return &halting{r: iotest.OneByteReader(r)} },
		} {
			got, err := unzip(wrap(bytes.NewReader(z)))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("level %d, %s: %d bytes, %v; want %d", level, name, len(got), err, len(want))
			}
		}
	}
	if err := iotest.TestReader(newReader(t, zipped(t, want, standard)), want); err != nil {
		t.Error(err)
	}
}

// halting returns nothing every second time.
type halting struct {
	r     io.Reader
	turns int
}

func (h *halting) Read(p []byte) (int, error) {
	if h.turns++; h.turns%2 == 0 {
		return 0, nil
	}
	return h.r.Read(p)
}

func TestReaderSourceErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	z := zipped(t, text(10_000, 5), standard)
	for _, n := range []int{0, 5, 20, 1000, len(z) - 3, len(z)} {
		_, err := unzip(io.MultiReader(bytes.NewReader(z[:n]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v, want the source's error", n, err)
		}
	}
	if _, err := unzip(&stuck{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v for a source that returns nothing", err)
	}
}

type stuck struct{}

func (*stuck) Read([]byte) (int, error) { return 0, nil }

// TestTruncation cuts streams everywhere. All that can be decoded must be: at least what the standard library does, which
// wants the bits of an end of block to be there before it decodes a literal.
func TestTruncation(t *testing.T) {
	t.Parallel()
	data := slices.Concat(text(1500, 6), make([]byte, 700))
	made := writers(t)
	for _, name := range []string{"standard -2", "standard 0", "standard 1", "standard 9", "klauspost -3", "klauspost 1", "pgzip 5"} {
		z := zipped(t, data, made[name])
		for n := range z {
			got, err := unzip(bytes.NewReader(z[:n]))
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s: %d bytes of %d: %v", name, n, len(z), err)
			}
			var want []byte
			if r, err := stdgzip.NewReader(bytes.NewReader(z[:n])); err == nil {
				want, _ = io.ReadAll(r)
			}
			if !bytes.HasPrefix(data, got) || len(got) < len(want) {
				t.Fatalf("%s: %d bytes of %d make %d bytes, want %d", name, n, len(z), len(got), len(want))
			}
		}
	}
}

// member is a gzip stream made of a header's flags, what they announce, and content.
func member(flags byte, fields, content []byte, t testing.TB) []byte {
	z := zipped(t, content, standard)
	header := append([]byte{0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 255}, fields...)
	if flags&headerSum != 0 {
		header = binary.LittleEndian.AppendUint16(header, uint16(crc32.ChecksumIEEE(header)))
	}
	return append(header, z[10:]...)
}

func TestMembers(t *testing.T) {
	t.Parallel()
	a, b := text(300_000, 7), text(40_000, 8)
	fields := slices.Concat([]byte{3, 0, 1, 2, 3}, bytes.Repeat([]byte("n"), 5000), []byte("ame\x00a comment\x00"))
	for name, c := range map[string]struct{ z, want []byte }{
		"two":        {slices.Concat(member(0, nil, a, t), member(0, nil, b, t)), slices.Concat(a, b)},
		"empty ones": {slices.Concat(member(0, nil, nil, t), member(0, nil, b, t), member(0, nil, nil, t)), b},
		"all fields": {member(headerSum|headerExtra|headerName|headerComment, fields, a, t), a},
		"fixed, dynamic, fixed": {
			slices.Concat(member(0, nil, []byte("hello, hello"), t), member(0, nil, b, t), member(0, nil, []byte("hello, hello"), t)),
			slices.Concat([]byte("hello, hello"), b, []byte("hello, hello")),
		},
		"is text":          {member(1, nil, b, t), b},
		"fields in second": {slices.Concat(member(0, nil, b, t), member(headerSum|headerName, []byte("x\x00"), b, t)), slices.Concat(b, b)},
	} {
		got, err := unzip(bytes.NewReader(c.z))
		if err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(got), err, len(c.want))
		}
	}
	// A match must not reach into the member before.
	body := slices.Concat(member(0, nil, a, t), []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 0x03, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	if got, err := unzip(bytes.NewReader(body)); err == nil || !strings.Contains(err.Error(), tooFar) || !bytes.Equal(got, a) {
		t.Errorf("a match into the member before: %d bytes, %v", len(got), err)
	}
}

// farthest is DEFLATE of a stored block as large as the history, and matches of all of that distance.
func farthest() []byte {
	far := noise(historySize)
	z := slices.Concat([]byte{0, 0x00, 0x80, 0xff, 0x7f}, far)
	return append(z, bitString("1 10"+strings.Repeat("11000101 11101 1111111111111", 3*outputSize/258)+"0000000")...)
}

func TestFarthestMatches(t *testing.T) {
	t.Parallel()
	want, err := io.ReadAll(flate.NewReader(bytes.NewReader(farthest())))
	if err != nil {
		t.Fatal(err)
	}
	got, err := inflated(bytes.NewReader(farthest()))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	data := text(5000, 9)
	good := member(0, nil, data, t)
	sum := slices.Clone(good)
	sum[len(sum)-5] ^= 1
	size := slices.Clone(good)
	size[len(size)-1] ^= 1
	wrong := member(headerSum|headerName, []byte("x\x00"), data, t)
	wrong[12] ^= 1
	raw := func(deflate ...byte) []byte {
		return slices.Concat([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}, deflate, make([]byte, 40))
	}
	for name, c := range map[string]struct {
		z    []byte
		want string
	}{
		"checksum":        {sum, "checksum"},
		"size":            {size, "the size is"},
		"garbage after":   {append(slices.Clone(good), "garbage"...), "neither the end nor a gzip header"},
		"zeros after":     {append(slices.Clone(good), make([]byte, 512)...), "neither the end nor a gzip header"},
		"header checksum": {wrong, "wrong checksum"},
		"reserved flag":   {member(0x20, nil, data, t), "reserved"},
		"method":          {[]byte{0x1f, 0x8b, 7, 0, 0, 0, 0, 0, 0, 0, 0}, "method 7"},
		"block type":      {raw(0x07), badBlock},
		"stored length":   {raw(0x01, 1, 0, 1, 0), badStored},
		"287 lengths":     {raw(bitString("1 01 01111 00000 0000")...), badCount},
		"31 distances":    {raw(bitString("1 01 00000 01111 0000")...), badCount},
		"no code lengths": {raw(0x05), badCode},
		"oversubscribed":  {raw(bitString("1 01 00000 00000 0000 100 100 100 000")...), badLengths},
		"incomplete":      {raw(bitString("1 01 00000 00000 0000 010 010 010 000")...), badLengths},
		"repeat of none":  {raw(bitString("1 01 00000 00000 0000 100 000 000 100  1 00")...), badRepeat},
		"repeat past end": {raw(bitString("1 01 00000 00000 0000 000 000 100 100  1 1111111 1 1111111 1 1111111")...), badRepeat},
		"symbol 286":      {raw(bitString("1 10 11000110")...), badCode},
		"distance 30":     {raw(bitString("1 10 00110000 0000001 11110")...), badCode},
		"too far":         {raw(bitString("1 10 00110000 0000001 10000")...), tooFar},
	} {
		_, err := unzip(bytes.NewReader(c.z))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// bitString packs zeros and ones in the order of the stream.
func bitString(s string) []byte {
	var b []byte
	for i, bit := range strings.ReplaceAll(s, " ", "") {
		if i%8 == 0 {
			b = append(b, 0)
		}
		b[i/8] |= byte(bit-'0') << (i % 8)
	}
	return b
}
