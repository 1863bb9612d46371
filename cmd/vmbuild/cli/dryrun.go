package cli

import (
	"fmt"

	"github.com/alecthomas/kong"
)

// dryRun is an option that may stand alone (--dry-run) or with a form (--dry-run=json).
type dryRun string

// IsBool tells kong that the value is optional.
func (dryRun) IsBool() bool { return true }

// Decode implements kong.MapperValue.
func (d *dryRun) Decode(ctx *kong.DecodeContext) error {
	*d = "text"
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	form := fmt.Sprint(ctx.Scan.Pop().Value)
	switch form {
	case "true", "text":
	case "false": // --no-dry-run
		*d = ""
	case "json":
		*d = "json"
	default:
		return fmt.Errorf("%q is not a form of the plan (text, json)", form)
	}
	return nil
}
