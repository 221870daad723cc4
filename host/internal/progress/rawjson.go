package progress

import (
	"bytes"
	"encoding/json"
)

// rawJSON writes each event as a line of JSON.
type rawJSON struct {
	out     bytes.Buffer
	encoder *json.Encoder
}

func newRawJSON() *rawJSON {
	v := &rawJSON{}
	v.encoder = json.NewEncoder(&v.out)
	v.encoder.SetEscapeHTML(false)
	return v
}

func (v *rawJSON) show(event Event) {
	if err := v.encoder.Encode(event); err != nil {
		panic("progress: an event has no JSON form: " + err.Error()) // only a year past 9999 can do this
	}
}

func (v *rawJSON) render() []byte {
	out := bytes.Clone(v.out.Bytes())
	v.out.Reset()
	return out
}

func (v *rawJSON) finish() {}
