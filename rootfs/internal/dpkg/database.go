package dpkg

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Paths of dpkg's database inside a root.
const (
	adminDir     = "/var/lib/dpkg"
	infoDir      = adminDir + "/info"
	triggersDir  = adminDir + "/triggers"
	statusFile   = adminDir + "/status"
	fileTriggers = triggersDir + "/File"
	scriptsDir   = adminDir + "/tmp.ci" // where dpkg puts the control members of a package while its preinst runs
)

// database is dpkg's database while no dpkg runs. It is read, changed and written as a whole: between two runs of dpkg
// in the root, which may change it too.
type database struct {
	root       *rootDir
	records    []*record
	diversions diversions
	triggers   interests
}

func readDatabase(root *rootDir) (*database, error) {
	db := &database{root: root}
	status, err := root.readOptional(statusFile)
	if err != nil {
		return nil, err
	}
	for fields, err := range stanzas(status) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", statusFile, err)
		}
		r, err := newRecord(fields)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", statusFile, err)
		}
		r.order = -1
		db.records = append(db.records, r)
	}
	data, err := root.readOptional(adminDir + "/diversions")
	if err != nil {
		return nil, err
	}
	if db.diversions, err = parseDiversions(data); err != nil {
		return nil, err
	}
	db.triggers, err = readInterests(root)
	return db, err
}

// find returns the record of a package, nil if the database has none.
func (db *database) find(name, arch string) *record {
	for _, r := range db.records {
		if r.name == name && r.arch == arch {
			return r
		}
	}
	return nil
}

// findID returns the record that a line of the database names, by name or name:arch.
func (db *database) findID(id string) *record {
	for _, r := range db.records {
		if r.name == id || r.name+":"+r.arch == id {
			return r
		}
	}
	return nil
}

// version returns the version of an installed package, empty if it is not installed.
func (db *database) version(name string) string {
	for _, r := range db.records {
		if r.name == name {
			return r.version
		}
	}
	return ""
}

// writeStatus writes the status file, sorted as dpkg sorts it.
func (db *database) writeStatus() error {
	slices.SortFunc(db.records, func(a, b *record) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.arch, b.arch))
	})
	var b strings.Builder
	for _, r := range db.records {
		b.WriteString(r.stanza())
	}
	return db.root.writeFile(statusFile, []byte(b.String()), 0o644)
}

// readList returns the paths of a package, "/." for the root directory.
func (db *database) readList(r *record) ([]string, error) {
	data, err := db.root.readOptional(infoFile(r, "list"))
	if err != nil || len(data) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n"), nil
}

func (db *database) writeList(r *record, paths []string) error {
	var b strings.Builder
	for _, p := range paths {
		b.WriteString(p + "\n")
	}
	return db.root.writeFile(infoFile(r, "list"), []byte(b.String()), 0o644)
}

func infoFile(r *record, kind string) string { return infoDir + "/" + r.id() + "." + kind }

// writeInfo writes the files in info/ of a package that was unpacked.
func (db *database) writeInfo(a *archive) error {
	if err := db.writeList(&a.record, a.list); err != nil {
		return err
	}
	for name, member := range a.control {
		if name == "control" || name == "list" || strings.Contains(name, ".") {
			continue
		}
		if err := db.root.writeFile(infoFile(&a.record, name), member.Data, uint32(member.Mode)); err != nil {
			return err
		}
	}
	if _, ok := a.control["md5sums"]; ok {
		return nil
	}
	return db.root.writeFile(infoFile(&a.record, "md5sums"), []byte(a.digests.String()), 0o644)
}

// add takes a package that was unpacked among the others.
func (db *database) add(a *archive) {
	a.status = statusUnpacked
	a.setConffiles()
	db.records = append(db.records, &a.record)
}

// takeAway removes paths from the list of the package that had them before.
func (db *database) takeAway(lost map[*record][]string) error {
	for r, paths := range lost {
		list, err := db.readList(r)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(p string) bool { return slices.Contains(paths, p) })
		if err := db.writeList(r, list); err != nil {
			return err
		}
	}
	return nil
}

// Skeleton makes the directories and files that dpkg expects to find in a root, as mmdebstrap does, for the native
// architecture arch. Directories that are there are kept.
func Skeleton(dir string, arches ...string) error {
	if err := makeSkeleton(dir, arches); err != nil {
		return fmt.Errorf("prepare dpkg's database in %q: %w", dir, err)
	}
	return nil
}

func makeSkeleton(dir string, arches []string) error {
	root, err := openRootDir(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range []string{
		"/etc/dpkg/dpkg.cfg.d", infoDir, triggersDir, adminDir + "/alternatives", adminDir + "/updates",
	} {
		if err := root.mkdirAll(name); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{
		statusFile:          "",
		adminDir + "/arch":  strings.Join(arches, "\n") + "\n",
		infoDir + "/format": "1\n",
	} {
		if err := root.writeFile(name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
