package dpkg

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"vmbuild/rootfs/internal/control"
)

// record is a package as the database knows it, or a package file that is on its way into it.
type record struct {
	name, arch, version string
	shared              bool            // Multi-Arch: same: several architectures of it may be installed
	status              string          // third word of the field Status: "installed", "unpacked", …
	fields              []control.Field // of its stanza without Status and the fields of triggers
	pending             []string        // Triggers-Pending, latest first
	awaited             []string        // Triggers-Awaited: ids
	replaces            []control.Group
	order               int // in the order of installation; packages of the database come before all others
}

// States of a package, dpkg(1). Those from triggersAwaited on are configured.
const (
	statusUnpacked        = "unpacked"
	statusTriggersAwaited = "triggers-awaited"
	statusTriggersPending = "triggers-pending"
	statusInstalled       = "installed"
)

// id names the package where one name is not enough, as in names of files in info/: architecture is part of it if more
// than one may be installed.
func (r *record) id() string {
	if r.shared {
		return r.name + ":" + r.arch
	}
	return r.name
}

// isConfigured says whether a dependency on the package is satisfied.
func (r *record) isConfigured() bool {
	return r.status == statusInstalled || r.status == statusTriggersPending || r.status == statusTriggersAwaited
}

// newRecord makes a record of the fields of a control file or of a stanza of the database.
func newRecord(fields []control.Field) (*record, error) {
	r := &record{
		name: fieldOf(fields, "Package"), arch: fieldOf(fields, "Architecture"), version: fieldOf(fields, "Version"),
		shared: fieldOf(fields, "Multi-Arch") == "same",
	}
	for _, field := range []string{"Package", "Architecture", "Version"} {
		if fieldOf(fields, field) == "" {
			return nil, fmt.Errorf("package %q: no field %s", r.name, field)
		}
	}
	if strings.ContainsAny(r.name+r.arch, "/\n ") {
		return nil, fmt.Errorf("package %q: not a name", r.id())
	}
	for _, f := range fields {
		switch f.Name {
		case "Status":
			r.status = f.Value[strings.LastIndexByte(f.Value, ' ')+1:]
		case "Triggers-Pending":
			r.pending = strings.Fields(f.Value)
		case "Triggers-Awaited":
			r.awaited = strings.Fields(f.Value)
		default:
			f.Value = strings.TrimRight(f.Value, " \t\r\n")
			r.fields = append(r.fields, f)
		}
	}
	var err error
	if r.replaces, err = control.ParseRelations(fieldOf(fields, "Replaces")); err != nil {
		return nil, fmt.Errorf("package %q: Replaces: %w", r.id(), err)
	}
	return r, nil
}

func (r *record) field(name string) string { return fieldOf(r.fields, name) }

// mayReplace says whether r's field Replaces allows it to take over files of other.
func (r *record) mayReplace(other *record) bool {
	for _, group := range r.replaces {
		for _, relation := range group {
			if relation.Name == other.name && relation.Op.Matches(other.version, relation.Version) {
				return true
			}
		}
	}
	return false
}

// fieldOrder is the order in which dpkg writes the fields it knows (its table fieldinfos); all others follow in the
// order of the control file.
var fieldOrder = []string{
	"Package", "Essential", "Protected", "Status", "Priority", "Section", "Installed-Size", "Origin", "Maintainer",
	"Bugs", "Architecture", "Multi-Arch", "Source", "Version", "Config-Version", "Replaces", "Provides", "Depends",
	"Pre-Depends", "Recommends", "Suggests", "Breaks", "Conflicts", "Enhances", "Conffiles", "Description",
	"Triggers-Pending", "Triggers-Awaited",
}

// stanza writes the record as the status file has it, with the empty line that ends it.
func (r *record) stanza() string {
	fields := append([]control.Field{{Name: "Status", Value: "install ok " + r.status}}, r.fields...)
	if len(r.pending) > 0 {
		fields = append(fields, control.Field{Name: "Triggers-Pending", Value: strings.Join(r.pending, " ")})
	}
	if len(r.awaited) > 0 {
		fields = append(fields, control.Field{Name: "Triggers-Awaited", Value: strings.Join(r.awaited, " ")})
	}
	slices.SortStableFunc(fields, func(a, b control.Field) int { return cmp.Compare(rank(a.Name), rank(b.Name)) })
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f.Name + ":")
		if f.Value != "" && f.Value[0] != '\n' {
			b.WriteByte(' ')
		}
		b.WriteString(f.Value + "\n")
	}
	return b.String() + "\n"
}

func rank(field string) int {
	for i, name := range fieldOrder {
		if strings.EqualFold(name, field) {
			return i
		}
	}
	return len(fieldOrder)
}
