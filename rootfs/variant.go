package rootfs

import (
	"fmt"
	"slices"
	"strings"
)

// variant is a set of packages by rule. It begins with Essential: yes and its dependencies, installed first; the rest comes
// on top of them in the order Include of the Spec, packages, priorities.
type variant struct {
	name        string
	aliases     []string
	packages    []string
	priorities  []string
	includeOnly bool // nothing but what the Spec includes, in one step
	unpackOnly  bool // nothing is configured
}

// variants are mmdebstrap's. How to add one: a row here; then VMBUILD_TEST=net go test ./rootfs.
var variants = []variant{
	{name: "extract", includeOnly: true, unpackOnly: true},
	{name: "custom", includeOnly: true},
	{name: "essential"},
	{name: "apt", packages: []string{"apt"}},
	{name: "required", aliases: []string{"minbase"}, packages: []string{"apt"}, priorities: []string{"required"}},
	{name: "buildd", packages: []string{"apt", "build-essential"}},
	{name: "important", aliases: []string{"debootstrap", "-"}, packages: []string{"apt"},
		priorities: []string{"required", "important"}},
	{name: "standard", packages: []string{"apt"}, priorities: []string{"required", "important", "standard"}},
}

// DefaultVariant is what debootstrap and mmdebstrap install when nothing is said.
const DefaultVariant = "important"

// Variants returns the names of all variants, aliases too.
func Variants() []string {
	var names []string
	for _, v := range variants {
		names = append(append(names, v.name), v.aliases...)
	}
	return names
}

// ConfiguresNothing says whether a variant leaves its packages unpacked.
func ConfiguresNothing(name string) bool {
	v, err := findVariant(name)
	return err == nil && v.unpackOnly
}

func findVariant(name string) (variant, error) {
	for _, v := range variants {
		if v.name == name || slices.Contains(v.aliases, name) {
			return v, nil
		}
	}
	return variant{}, fmt.Errorf("variant %q is not one of %s", name, strings.Join(Variants(), ", "))
}
