package host

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

// Instructions are Dockerfile instructions that a handler gives.
type Instructions struct {
	Name    string // for messages
	Handler sdk.InstructionHandler
	// Identity is a digest of all that decides what the handler answers beside the call and the files it reads: its code and
	// configuration. While it stays, answers are kept in the caches. Empty means that every build asks anew.
	Identity string
}

// describedInstruction is an instruction and who has it.
type describedInstruction struct {
	sdk.Instruction
	by Instructions
}

// describe asks all handlers, or a cache, what instructions they have.
func (b *build) describe(ctx context.Context) ([]sdk.Instruction, error) {
	var all []sdk.Instruction
	for _, h := range b.Instructions {
		list, err := b.descriptionOf(ctx, h)
		if err != nil {
			return nil, fmt.Errorf("plugin %q: describe its instructions: %w", h.Name, err)
		}
		for _, in := range list {
			in.Summary, in.Usage = service.Clean(in.Summary), service.Clean(in.Usage)
			if err := dockerfile.CheckInstruction(in); err != nil {
				return nil, fmt.Errorf("plugin %q: %w", h.Name, err)
			}
			for _, d := range b.described {
				if d.Keyword == in.Keyword {
					return nil, &Error{fmt.Errorf("the plugins %q and %q both have the instruction %s", d.by.Name, h.Name, in.Keyword), "configure one of them alone"}
				}
			}
			b.described = append(b.described, describedInstruction{in, h})
			all = append(all, in)
		}
	}
	return all, nil
}

func (b *build) descriptionOf(ctx context.Context, h Instructions) ([]sdk.Instruction, error) {
	key := sdk.Key("describe/" + h.Identity)
	var list []sdk.Instruction
	if h.Identity != "" {
		if value, ok := b.tiers.Records(ctx, []sdk.Key{key})[key]; ok && json.Unmarshal(value, &list) == nil && len(list) > 0 &&
			!slices.ContainsFunc(list, func(in sdk.Instruction) bool { return dockerfile.CheckInstruction(in) != nil }) {
			return list, nil // a backend may hold anything
		}
	}
	list, err := h.Handler.Describe(ctx)
	if err != nil {
		return nil, err
	}
	if value, err := json.Marshal(list); err == nil && h.Identity != "" && len(value) <= maxKeptBytes {
		b.tiers.PutRecords(ctx, []sdk.Record{{Key: key, Value: value}})
	}
	return list, nil
}
