package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"
)

// cloudInit is an option that may stand alone (--cloud-init) or with a seed directory (--cloud-init=DIR). It is empty, or
// "true", or a path with a slash, which is so told from all that means yes or no in a configuration file.
type cloudInit string

// IsBool tells kong that the value is optional.
func (cloudInit) IsBool() bool { return true }

// Decode implements kong.MapperValue.
func (c *cloudInit) Decode(ctx *kong.DecodeContext) error {
	*c = "true"
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	value := fmt.Sprint(ctx.Scan.Pop().Value)
	switch {
	case value == "true":
	case value == "false": // --no-cloud-init
		*c = ""
	case value == "":
		return fmt.Errorf("the name of the directory is empty")
	case strings.Contains(value, "/"):
		*c = cloudInit(value)
	default:
		*c = cloudInit("./" + value)
	}
	return nil
}

// seed is the absolute path of the seed directory, as the build may run elsewhere; empty: there is none.
func (c cloudInit) seed() (string, error) {
	if c == "" || c == "true" {
		return "", nil
	}
	return filepath.Abs(string(c))
}
