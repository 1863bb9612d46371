package rootfs

import (
	"fmt"
	"strings"
)

// variant is a set of packages by rule. Every variant begins with Essential: yes and its dependencies, installed first;
// the rest comes on top of them in the order Include of the Spec, Packages, Priorities.
type variant struct {
	name       string
	aliases    []string
	packages   []string
	priorities []string
}

// variants are mmdebstrap's. How to add one: a row here; then VMBUILD_TEST=net go test ./rootfs.
var variants = []variant{
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

func findVariant(name string) (variant, error) {
	var names []string
	for _, v := range variants {
		for _, n := range append([]string{v.name}, v.aliases...) {
			if n == name {
				return v, nil
			}
			names = append(names, n)
		}
	}
	return variant{}, fmt.Errorf("variant %q is not one of %s", name, strings.Join(names, ", "))
}
