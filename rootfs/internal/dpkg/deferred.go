package dpkg

import "fmt"

// Batch is a step of an installation that is left to somebody else. Packages are named as dpkg takes them: NAME:ARCH.
type Batch struct {
	Configure []string // to be configured first
	Prepare   []string // whose preinst scripts are then run, in this order
}

// Deferred plans what Install would do in a root whose packages are all unpacked already: rest in steps, in this order as
// far as Pre-Depends leave a choice, when those of first are configured. All that is left is to be configured after the
// last step.
func Deferred(dir string, first, rest []string) ([]Batch, error) {
	batches, err := deferred(dir, first, rest)
	if err != nil {
		return nil, fmt.Errorf("plan how to configure packages: %w", err)
	}
	return batches, nil
}

func deferred(dir string, first, rest []string) ([]Batch, error) {
	root, err := openRootDir(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	db, err := readDatabase(root)
	if err != nil {
		return nil, err
	}
	installed, err := db.all(first)
	if err != nil {
		return nil, err
	}
	for _, r := range installed {
		r.status = statusInstalled
	}
	left, err := db.all(rest)
	if err != nil {
		return nil, err
	}
	var archives []*archive
	for _, r := range left {
		archives = append(archives, &archive{record: *r})
	}
	plan, err := planBatches(installed, archives)
	var batches []Batch
	for _, b := range plan {
		batches = append(batches, Batch{Configure: fullNames(b.before), Prepare: fullNames(b.unpack)})
	}
	return batches, err
}

// all returns the records of packages.
func (db *database) all(names []string) ([]*record, error) {
	var list []*record
	for _, name := range names {
		r := db.findID(name)
		if r == nil {
			return nil, fmt.Errorf("package %s is not in the root", name)
		}
		list = append(list, r)
	}
	return list, nil
}

func fullNames(archives []*archive) []string {
	var names []string
	for _, a := range archives {
		names = append(names, a.name+":"+a.arch)
	}
	return names
}

// Postinsts returns the postinst scripts of the packages of a root that are to be configured, by the packages' names. It is meant
// for a root in which packages are being installed.
func Postinsts(dir string) (map[string][]byte, error) {
	scripts, err := postinsts(dir)
	if err != nil {
		return nil, fmt.Errorf("look for scripts of packages: %w", err)
	}
	return scripts, nil
}

func postinsts(dir string) (map[string][]byte, error) {
	root, err := openRootDir(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	db, err := readDatabase(root)
	if err != nil {
		return nil, err
	}
	scripts := map[string][]byte{}
	for _, r := range db.records {
		if r.status != statusUnpacked {
			continue
		}
		script, err := root.readOptional(infoFile(r, "postinst"))
		if err != nil {
			return nil, err
		}
		if len(script) > 0 {
			scripts[r.name] = script
		}
	}
	return scripts, nil
}
