package dpkg

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// interest is a package's interest in a trigger.
type interest struct {
	trigger string // a path or a name
	id      string // of the package
	noawait bool   // whoever activates the trigger does not wait for it to be processed
}

// noawaitMark ends the id of a package in the database's files of interests.
const noawaitMark = "/noawait"

func (i interest) owner() string {
	if i.noawait {
		return i.id + noawaitMark
	}
	return i.id
}

// interests are the files in /var/lib/dpkg/triggers: File has the triggers that are paths, in the order in which they
// became known; each other trigger has a file of its own.
type interests struct {
	files []interest            // of File
	named map[string][]interest // by trigger; read when needed
	root  *rootDir
	dirty map[string]bool // files to be written: "File" and names of triggers
}

func readInterests(root *rootDir) (interests, error) {
	in := interests{named: map[string][]interest{}, root: root, dirty: map[string]bool{}}
	data, err := root.readOptional(fileTriggers)
	if err != nil {
		return in, err
	}
	for line := range strings.Lines(string(data)) {
		trigger, owner, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok {
			return in, fmt.Errorf("%s: line %q", fileTriggers, line)
		}
		in.files = append(in.files, parseInterest(trigger, owner))
	}
	return in, nil
}

func parseInterest(trigger, owner string) interest {
	id, noawait := strings.CutSuffix(owner, noawaitMark)
	return interest{trigger, id, noawait}
}

// ofName returns who is interested in a trigger that is no path.
func (in *interests) ofName(trigger string) ([]interest, error) {
	if list, ok := in.named[trigger]; ok {
		return list, nil
	}
	data, err := in.root.readOptional(triggersDir + "/" + trigger)
	if err != nil {
		return nil, err
	}
	var list []interest
	for line := range strings.Lines(string(data)) {
		list = append(list, parseInterest(trigger, strings.TrimSuffix(line, "\n")))
	}
	in.named[trigger] = list
	return list, nil
}

// add notes an interest unless it is known.
func (in *interests) add(i interest) error {
	same := func(o interest) bool { return o.trigger == i.trigger && o.id == i.id }
	if strings.HasPrefix(i.trigger, "/") {
		if !slices.ContainsFunc(in.files, same) {
			in.files = append(in.files, i)
			in.dirty["File"] = true
		}
		return nil
	}
	list, err := in.ofName(i.trigger)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, same) {
		in.named[i.trigger] = append(list, i)
		in.dirty[i.trigger] = true
	}
	return nil
}

// write writes the files that changed.
func (in *interests) write() error {
	for name := range in.dirty {
		var b strings.Builder
		if name == "File" {
			for _, i := range in.files {
				b.WriteString(i.trigger + " " + i.owner() + "\n")
			}
		} else {
			for _, i := range in.named[name] {
				b.WriteString(i.owner() + "\n")
			}
		}
		if err := in.root.writeFile(triggersDir+"/"+name, []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	clear(in.dirty)
	return nil
}

// directive is a line of a package's control member triggers (deb-triggers(5)).
type directive struct {
	activates bool // else it declares an interest
	noawait   bool
	trigger   string
}

func parseTriggers(data []byte) ([]directive, error) {
	var directives []directive
	for line := range strings.Lines(string(data)) {
		line, _, _ := strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 || strings.Contains(strings.Trim(words[1], "/"), "/") && words[1][0] != '/' {
			return nil, fmt.Errorf("triggers: line %q", strings.TrimSpace(line))
		}
		verb, noawait := strings.CutSuffix(words[0], "-noawait")
		switch strings.TrimSuffix(verb, "-await") {
		case "interest":
			directives = append(directives, directive{false, noawait, words[1]})
		case "activate":
			directives = append(directives, directive{true, noawait, words[1]})
		default:
			return nil, fmt.Errorf("triggers: unknown directive %q", words[0])
		}
	}
	return directives, nil
}

// noteTriggers does what unpacking a has for an effect on triggers, in dpkg's order: the triggers it activates by name,
// those its paths activate, then its own interests.
func (db *database) noteTriggers(a *archive) error {
	for _, d := range a.triggers {
		if !d.activates {
			continue
		}
		if err := db.activate(d.trigger, a, d.noawait); err != nil {
			return err
		}
	}
	db.activatePaths(a)
	for _, d := range a.triggers {
		if d.activates {
			continue
		}
		if err := db.triggers.add(interest{d.trigger, a.id(), d.noawait}); err != nil {
			return err
		}
	}
	return nil
}

// activate activates the trigger for every package that is interested in it.
func (db *database) activate(trigger string, a *archive, noawait bool) error {
	if strings.HasPrefix(trigger, "/") {
		for _, i := range db.triggers.files {
			if i.trigger == trigger {
				db.activateFor(i, a, noawait)
			}
		}
		return nil
	}
	list, err := db.triggers.ofName(trigger)
	for _, i := range list {
		db.activateFor(i, a, noawait)
	}
	return err
}

// activatePaths activates the triggers that are a's paths or directories above them.
func (db *database) activatePaths(a *archive) {
	byPath := map[string][]interest{}
	for _, i := range db.triggers.files {
		byPath[i.trigger] = append(byPath[i.trigger], i)
	}
	if len(byPath) == 0 {
		return
	}
	for _, name := range a.list {
		place := db.diversions.place(name, a.name)
		for dir := place; dir != "/"; dir = path.Dir(dir) {
			for _, i := range byPath[dir] {
				db.activateFor(i, a, false)
			}
		}
	}
}

// activateFor makes i pending for its package. A package that is not configured needs no trigger: its configuration
// does all that the trigger would (dpkg, trig_record_activation).
func (db *database) activateFor(i interest, a *archive, noawait bool) {
	r := db.findID(i.id)
	if r == nil || !r.isConfigured() {
		return
	}
	if !slices.Contains(r.pending, i.trigger) {
		r.pending = append([]string{i.trigger}, r.pending...)
	}
	r.status = statusTriggersPending
	if len(r.awaited) > 0 {
		r.status = statusTriggersAwaited
	}
	if !i.noawait && !noawait && !slices.Contains(a.awaited, r.id()) {
		a.awaited = append(a.awaited, r.id())
	}
}
