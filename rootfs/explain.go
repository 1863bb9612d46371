package rootfs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// LayerUse says what has become of a layer that a build needs.
type LayerUse struct {
	What string   `json:"what"`          // for people, as Describe says it
	Key  string   `json:"key"`           // its name in the cache
	Hit  bool     `json:"hit"`           // it was there; else it is being made
	Why  []string `json:"why,omitempty"` // it was not: what differs from the nearest that was
}

// maxReasons is how many differences of a kind are told one by one.
const maxReasons = 8

// comparison says what differs between what a layer is to be made of and what another was made of, whose tree is given, and in how
// much they differ; ok is false if they have nothing to do with each other.
type comparison func(tree string) (why []string, size int, ok bool)

// miss tells that a layer is made, and why: what is other than in the layer that is most like it.
func (b *Builder) miss(use LayerUse, compare comparison) {
	least := -1
	for _, other := range b.Cache.Layers() {
		why, size, ok := compare(b.Cache.Tree(other))
		if !ok || least >= 0 && size >= least {
			continue
		}
		if size == 0 {
			why = []string{"all is as in " + short(other) + ", which was made for other ids, by another version, or over a layer that is gone"}
		}
		use.Why, least = why, size
	}
	if b.Cache.Rejected(use.Key) {
		use.Why = []string{"somebody has changed it since it was made"}
	}
	b.Event(Event{Layer: &use})
}

// missLock is miss for the layer of a Lock.
func (b *Builder) missLock(key string, l *Lock) {
	use := LayerUse{What: l.describe(), Key: key, Why: []string{"no layer of " + l.suiteAndArch() + " is in the cache"}}
	b.miss(use, func(tree string) ([]string, int, bool) {
		known, err := readLock(filepath.Join(tree, layerLock))
		if err != nil || known.suiteAndArch() != l.suiteAndArch() || (known.Base == nil) != (l.Base == nil) || known.Configure != l.Configure {
			return nil, 0, false
		}
		why, size := l.differences(known)
		return why, size, true
	})
}

// hit tells that a layer was in the cache.
func (b *Builder) hit(key string, what string) {
	b.Event(Event{Layer: &LayerUse{What: what, Key: key, Hit: true}})
}

// short is enough of a key for people.
func short(key string) string { return key[:min(len(key), 12)] }

func (l *Lock) suiteAndArch() string { return strings.TrimSpace(l.Suite + " " + l.Arch) }

// differences says in what the Lock differs from an older one, and in how much. Packages are told by name and version, all else
// by the names of its fields.
func (l *Lock) differences(old *Lock) (why []string, size int) {
	why, size = packageDifferences(l.Packages, old.Packages)
	now, then := reflect.ValueOf(*l), reflect.ValueOf(*old)
	for i := range now.NumField() {
		name := now.Type().Field(i).Name
		switch name {
		case "Packages", "Base", "Date", "TLS":
			continue
		}
		if a, b := text(now.Field(i)), text(then.Field(i)); a != b {
			why, size = append(why, fmt.Sprintf("%s: %s, was %s", strings.ToLower(name), cut(a), cut(b))), size+1
		}
	}
	return why, size
}

// text is a value in JSON, as layers are named by.
func text(v reflect.Value) string {
	data, err := json.Marshal(v.Interface())
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// cut shortens a text to what fits into a line.
func cut(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

func packageDifferences(now, then []Package) (why []string, size int) {
	old := map[string]Package{}
	for _, p := range then {
		old[p.Name+":"+p.Arch] = p
	}
	for _, p := range now {
		id := p.Name + ":" + p.Arch
		o, ok := old[id]
		delete(old, id)
		switch {
		case !ok:
			why = append(why, fmt.Sprintf("package %s %s is new", p.Name, p.Version))
		case o.Version != p.Version:
			why = append(why, fmt.Sprintf("package %s %s, was %s", p.Name, p.Version, o.Version))
		case o.SHA256 != p.SHA256:
			why = append(why, fmt.Sprintf("package %s %s is another file of that version", p.Name, p.Version))
		case o != p:
			why = append(why, fmt.Sprintf("package %s is marked or located otherwise", p.Name))
		}
	}
	gone := slices.SortedFunc(maps.Values(old), func(a, b Package) int { return cmp.Compare(a.Name, b.Name) })
	for _, p := range gone {
		why = append(why, fmt.Sprintf("package %s %s is gone", p.Name, p.Version))
	}
	size = len(why)
	if size == 0 && !slices.EqualFunc(now, then, func(a, b Package) bool { return a.Name == b.Name }) {
		return []string{"the packages come in another order"}, 1
	}
	return shorten(why), size
}

// shorten leaves out what few would read.
func shorten(why []string) []string {
	if len(why) <= maxReasons {
		return why
	}
	return append(why[:maxReasons:maxReasons], fmt.Sprintf("and %d more", len(why)-maxReasons))
}

// inputsFile has, in the layer of an initramfs, what it was made of, a line each.
const inputsFile = "inputs"

// missInitramfs is miss for that of an initramfs.
func (b *Builder) missInitramfs(key, what string, inputs []string) {
	use := LayerUse{What: what, Key: key, Why: []string{"no initramfs is in the cache"}}
	b.miss(use, func(tree string) ([]string, int, bool) {
		data, err := os.ReadFile(filepath.Join(tree, inputsFile))
		why := inputDifferences(inputs, strings.Split(strings.TrimSuffix(string(data), "\n"), "\n"))
		return shorten(why), len(why), err == nil
	})
}

// inputDifferences names what only one of two lists has.
func inputDifferences(now, then []string) []string {
	var why []string
	subject := func(line string) string { name, _, _ := strings.Cut(line, "\t"); return name }
	old := map[string]string{}
	for _, line := range then {
		old[subject(line)] = line
	}
	for _, line := range now {
		name := subject(line)
		o, ok := old[name]
		delete(old, name)
		switch {
		case !ok:
			why = append(why, name+" is new")
		case o != line:
			why = append(why, name+" has changed")
		}
	}
	var gone []string
	for name := range old {
		gone = append(gone, name+" is gone")
	}
	slices.Sort(gone)
	return append(why, gone...)
}
