package image

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ParseJSON reads a document of an image, and says what is wrong with it in the document's own words.
func ParseJSON(document []byte, into any) error {
	err := json.Unmarshal(document, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("it is not valid: %q cannot be a JSON %s", wrong.Field, wrong.Value)
	}
	return err
}
