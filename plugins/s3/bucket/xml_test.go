package bucket

import (
	"encoding/xml"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestElement(t *testing.T) {
	t.Parallel()
	const document = `<?xml version="1.0" encoding="UTF-8"?>
<!-- a remark --><Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Codes>no</Codes><Code>NoSuchKey</Code><Message a="b">a &lt;b&gt; &amp;amp; &#65;&#x42; &unknown; &quot;&apos;</Message><Empty/><Open>x<Key>deep</Key></Open></Error>`
	for name, want := range map[string]string{
		"Code": "NoSuchKey", "Message": `a <b> &amp; AB &unknown; "'`, "Key": "deep", "Empty": "", "Open": "", "Absent": "", "Codes": "no", "Cod": "",
	} {
		if got := element(document, name); got != want {
			t.Errorf("element %q is %q, want %q", name, got, want)
		}
	}
	for document, want := range map[string]string{
		document: "Error", "": "", "plain": "", "<": "", "<a": "", "<a/>": "a", "<?x?>": "", " \n<Complete >": "Complete",
	} {
		if got := rootElement(document); got != want {
			t.Errorf("root of %.30q is %q, want %q", document, got, want)
		}
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	tags := []string{`"9b2c"`, `a&b<c>`}
	var got struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUpload"`
		Part    []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(completion(tags), &got); err != nil {
		t.Fatal(err)
	}
	for i, p := range got.Part {
		if p.PartNumber != i+1 || p.ETag != tags[i] {
			t.Errorf("part %d is %v", i, p)
		}
	}
	if diff := cmp.Diff(2, len(got.Part)); diff != "" {
		t.Errorf("parts: %s", diff)
	}
}

// FuzzElement compares with the standard library's decoder where that understands a document, and never panics.
func FuzzElement(f *testing.F) {
	f.Add("<E><Code>a</Code></E>")
	f.Add("<E><Code>&#x10FFFF;&amp</Code></E>")
	f.Add("<Code")
	f.Fuzz(func(t *testing.T, document string) {
		rootElement(document)
		got := element(document, "Code")
		var want struct{ Code string }
		if xml.Unmarshal([]byte(document), &want) == nil && document == "<E><Code>"+want.Code+"</Code></E>" && got != unescape(want.Code) {
			t.Errorf("element of %q is %q, want %q", document, got, want.Code)
		}
	})
}
