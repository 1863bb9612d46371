package resolve

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"vmbuild/rootfs/internal/control"
)

// TestSmallUniverses draws archives of eight packages full of alternatives and conflicts. What is chosen must be free
// of contradictions, and where nothing is, trying all 256 sets must find nothing either.
func TestSmallUniverses(t *testing.T) {
	solved := 0
	for seed := range uint64(4000) {
		random := rand.New(rand.NewPCG(seed, 0))
		packages := randomPackages(random)
		roots := []string{packages[0].Name, packages[1].Name}[:1+random.IntN(2)]
		choices, err := NewUniverse("amd64", []Archive{{Packages: packages}}).
			Resolve(Request{Packages: roots, Recommends: seed%2 == 1})
		var unsatisfiable *UnsatisfiableError
		switch {
		case err == nil:
			solved++
			var chosen []control.Package
			for _, c := range choices {
				chosen = append(chosen, *c.Package)
			}
			if problem := contradiction(chosen, roots); problem != "" {
				t.Errorf("seed %d: %s\n%s", seed, problem, describe(packages))
			}
		case !errors.As(err, &unsatisfiable):
			t.Errorf("seed %d: %v\n%s", seed, err, describe(packages))
		default:
			if set, found := search256(packages, roots); found {
				t.Errorf("seed %d: %v, but %v would do\n%s", seed, err, set, describe(packages))
			}
		}
	}
	if solved < 1000 || solved > 3500 {
		t.Errorf("%d of 4000 archives had a solution: they are too easy or too hard to tell anything", solved)
	}
}

func randomPackages(random *rand.Rand) []control.Package {
	names := strings.Fields("a b c d e f g h")
	field := func(groups, alternatives int) string {
		var list []string
		for range random.IntN(groups + 1) {
			var group []string
			for range 1 + random.IntN(alternatives) {
				name := names[random.IntN(len(names))]
				if random.IntN(4) == 0 {
					name = "v" + name // virtual, if it is provided at all
				}
				group = append(group, name)
			}
			list = append(list, strings.Join(group, " | "))
		}
		return strings.Join(list, ", ")
	}
	var packages []control.Package
	for _, name := range names {
		p := control.Package{Name: name, Version: "1", Architecture: "amd64", Depends: field(2, 3), Recommends: field(1, 2)}
		if random.IntN(2) == 0 {
			p.Conflicts = field(1, 1)
		}
		if random.IntN(2) == 0 {
			p.Provides = "v" + names[random.IntN(len(names))]
		}
		packages = append(packages, p)
	}
	return packages
}

// contradiction says what is wrong with a set of packages of one architecture and without versions, "" if nothing is.
func contradiction(set []control.Package, roots []string) string {
	has := func(name string, but string) bool {
		return slices.ContainsFunc(set, func(p control.Package) bool {
			return p.Name != but && (p.Name == name || p.Provides == name)
		})
	}
	for _, root := range roots {
		if !has(root, "") {
			return root + " is missing"
		}
	}
	for _, p := range set {
		for group := range strings.SplitSeq(p.Depends, ", ") {
			if group != "" && !slices.ContainsFunc(strings.Split(group, " | "), func(name string) bool { return has(name, "") }) {
				return fmt.Sprintf("%s depends on %s", p.Name, group)
			}
		}
		if p.Conflicts != "" && has(p.Conflicts, p.Name) {
			return fmt.Sprintf("%s conflicts with %s", p.Name, p.Conflicts)
		}
	}
	return ""
}

// search256 looks for a set without contradictions among all there are.
func search256(packages []control.Package, roots []string) (names []string, found bool) {
	for bits := range 1 << len(packages) {
		var set []control.Package
		for i, p := range packages {
			if bits&(1<<i) != 0 {
				set = append(set, p)
			}
		}
		if contradiction(set, roots) == "" {
			for _, p := range set {
				names = append(names, p.Name)
			}
			return names, true
		}
	}
	return nil, false
}

func describe(packages []control.Package) string {
	var b strings.Builder
	for _, p := range packages {
		fmt.Fprintf(&b, "%s: depends %q recommends %q conflicts %q provides %q\n",
			p.Name, p.Depends, p.Recommends, p.Conflicts, p.Provides)
	}
	return b.String()
}
