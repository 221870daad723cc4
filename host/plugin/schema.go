package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaName is what a plugin's schema is called in messages; nothing is ever loaded from it.
const schemaName = "trowel:config.schema.json"

// checkConfig holds a plugin's configuration against the schema that came with it.
func checkConfig(schema json.RawMessage, config map[string]any) error {
	if len(schema) == 0 {
		return nil
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return fmt.Errorf("the schema of its configuration: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	if err := c.AddResource(schemaName, document); err != nil {
		return fmt.Errorf("the schema of its configuration: %w", err)
	}
	compiled, err := c.Compile(schemaName)
	if err != nil {
		return fmt.Errorf("the schema of its configuration: %w", err)
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if config == nil {
		text = []byte("{}")
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	err = compiled.Validate(value)
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return err
	}
	return errors.New(strings.Join(problems(invalid), "; "))
}

// problems are what is wrong at the leaves of a validation.
func problems(e *jsonschema.ValidationError) []string {
	if len(e.Causes) == 0 {
		where := "config"
		for _, p := range e.InstanceLocation {
			where += "." + p
		}
		text := e.Error()
		if _, after, ok := strings.Cut(text, "': "); ok {
			text = after
		}
		return []string{where + ": " + text}
	}
	var all []string
	for _, cause := range e.Causes {
		all = append(all, problems(cause)...)
	}
	return all
}

// noLoader keeps schemas from referring to files and URLs.
type noLoader struct{}

// Load refuses.
func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%q: a schema can refer to itself alone", url)
}
