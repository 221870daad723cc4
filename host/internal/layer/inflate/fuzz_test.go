package inflate

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzInflate compares with the standard library: the same streams are good, and make the same bytes up to the error.
func FuzzInflate(f *testing.F) {
	for _, data := range [][]byte{nil, text(3000, 1), noise(300), make([]byte, 70_000), repeats()[:4000]} {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6, 9} {
			f.Add(deflated(f, data, level))
		}
	}
	f.Add(farthest())
	f.Add([]byte{0x4b, 0x04, 0x5e})
	f.Add([]byte{0xed, 0xfd, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, z []byte) {
		want, wantErr := io.ReadAll(flate.NewReader(bytes.NewReader(z)))
		got, gotErr := inflated(bytes.NewReader(z))
		compare(t, got, gotErr, want, wantErr)
		// With more input behind it the fast loop gets to the same point.
		long := append(bytes.Clone(z), make([]byte, 64)...)
		want, wantErr = io.ReadAll(flate.NewReader(bytes.NewReader(long)))
		got, gotErr = inflated(iotest.HalfReader(bytes.NewReader(long)))
		compare(t, got, gotErr, want, wantErr)
		_, _ = unzip(bytes.NewReader(z)) // must not panic
	})
}

func compare(t *testing.T, got []byte, gotErr error, want []byte, wantErr error) {
	t.Helper()
	if (gotErr == nil) != (wantErr == nil) {
		t.Fatalf("got %v, want %v", gotErr, wantErr)
	}
	if errors.Is(wantErr, io.ErrUnexpectedEOF) && bytes.HasPrefix(got, want) && len(got) < len(want)+maxCode*258 {
		return // See TestTruncation: fewer bits than a code has can still be matches.
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes and %v, want %d and %v", len(got), gotErr, len(want), wantErr)
	}
}

func deflated(t testing.TB, data []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func inflated(r io.Reader) ([]byte, error) {
	d := &decoder{}
	d.in.src = r
	d.begin()
	var all []byte
	for d.block != ended {
		d.room()
		start := d.pos
		err := d.decode()
		all = append(all, d.out[start:d.pos]...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}
