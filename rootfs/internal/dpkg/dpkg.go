// Package dpkg installs package files into a root filesystem and leaves there what dpkg would have left: the same
// files, the same database.
//
// It does itself what dpkg does alone and one package at a time: it unpacks, several packages at once, honouring
// diversions, overrides, Replaces, conffiles and path rules, and writes /var/lib/dpkg. Maintainer scripts run in the
// root, preinst started from here, all others by the root's own dpkg, which configures everything in as few calls as the
// packages' Pre-Depends allow. The model is mmdebstrap: Extract and Configure are its handling of the essential packages,
// Install is its apt-get install of the rest.
//
// It does not choose packages, does not check that their relations hold, does not upgrade, remove or let disappear what
// is installed, and does not know apt's database. Blocking of daemons, mounts and apt's files belong to its caller.
//
// No path in a package leads out of the root: see rootDir. What a failed call leaves behind is not to be used.
package dpkg

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/span"
)

// Options say where and how packages are unpacked.
type Options struct {
	Root      string               // directory of the tree, as the build sees it
	PathRules []PathRule           // which paths are not unpacked
	Parallel  int                  // packages unpacked at the same time; 0: one for each core
	Unpacked  func(name string)    // is told each package whose files are in place, and those in info/; called from several goroutines
	Placed    func(all bool) error // is called when some are in place, and when all are and those left are to be configured; may be nil
}

func (o Options) parallel() int {
	if o.Parallel > 0 {
		return o.Parallel
	}
	return runtime.GOMAXPROCS(0)
}

// Extracted are the first packages of a root, unpacked but not configured.
type Extracted struct {
	options  Options
	archives []*archive
}

// Extract unpacks the first packages of a root, those without which no maintainer script can run, and writes dpkg's
// database for them. Nothing is run. Skeleton must have been called; configuring the packages is Configure's.
func Extract(ctx context.Context, o Options, debs []Deb) (*Extracted, error) {
	e, err := extract(ctx, o, debs)
	if err != nil {
		return nil, fmt.Errorf("extract packages: %w", err)
	}
	return e, nil
}

func extract(ctx context.Context, o Options, debs []Deb) (*Extracted, error) {
	archives, err := readArchives(ctx, debs, o.parallel())
	if err != nil {
		return nil, err
	}
	root, err := openRootDir(o.Root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	db, err := readDatabase(root)
	if err != nil {
		return nil, err
	}
	if err := db.unpack(ctx, o, archives, newLanes(o), true); err != nil {
		return nil, err
	}
	return &Extracted{o, archives}, nil
}

// unpack unpacks the packages and records them.
func (db *database) unpack(ctx context.Context, o Options, archives []*archive, lanes lanes, first bool) error {
	ctx, unpacking := span.Start(ctx, span.Stage, "unpack")
	defer unpacking.End()
	for _, a := range archives {
		if old := db.find(a.name, a.arch); old != nil {
			return fmt.Errorf("package %s is in the root already, version %s, %s", old.id(), old.version, old.status)
		}
	}
	u, err := newUnpacker(db, o, lanes, first)
	if err != nil {
		return err
	}
	u.record = db.writeInfo
	var links []*archive
	others := archives
	if first {
		links, others = splitLinks(archives)
	}
	if err := u.run(ctx, links); err != nil {
		return err
	}
	if err := u.run(ctx, others); err != nil {
		return err
	}
	for _, a := range archives {
		db.add(a)
		if err := db.noteTriggers(a); err != nil {
			return err
		}
	}
	if err := db.takeAway(u.owners.lost); err != nil {
		return err
	}
	if err := db.triggers.write(); err != nil {
		return err
	}
	return db.writeStatus()
}

// splitLinks takes out the package that has the links of merged /usr, /bin and its like: it must be there before a
// package that still has files below /bin makes a directory of it.
func splitLinks(archives []*archive) (links, others []*archive) {
	for _, a := range archives {
		if a.name == "base-files" {
			links = append(links, a)
		} else {
			others = append(others, a)
		}
	}
	return links, others
}

// Configure runs the packages' preinst scripts, in the order in which the packages were given, and then the root's dpkg
// to configure them.
func (e *Extracted) Configure(ctx context.Context, runner chroot.Runner) error {
	if err := e.configure(ctx, runner); err != nil {
		return fmt.Errorf("configure the first packages: %w", err)
	}
	return nil
}

func (e *Extracted) configure(ctx context.Context, runner chroot.Runner) error {
	root, err := openRootDir(e.options.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	db, err := readDatabase(root)
	if err != nil {
		return err
	}
	s := scripts{runner, root, db.version("dpkg")}
	for _, a := range e.archives {
		if err := s.preinst(ctx, a); err != nil {
			return err
		}
	}
	if err := e.unpackDiverted(ctx, root, db.diversions); err != nil {
		return err
	}
	return s.configure(ctx, e.archives, "--force-depends")
}

// unpackDiverted unpacks once more the packages among whose paths are some that a preinst has diverted since: dpkg
// unpacks after that, on top of what was extracted before.
func (e *Extracted) unpackDiverted(ctx context.Context, root *rootDir, before diversions) error {
	db, err := readDatabase(root)
	if err != nil {
		return err
	}
	var affected []*archive
	for _, a := range e.archives {
		if hasNewDiversion(a.list, before, db.diversions) {
			affected = append(affected, a)
		}
	}
	if len(affected) == 0 {
		return nil
	}
	db.records = slices.DeleteFunc(db.records, func(r *record) bool {
		return slices.ContainsFunc(affected, func(a *archive) bool { return a.id() == r.id() })
	})
	ctx, unpacking := span.Start(ctx, span.Stage, "unpack")
	defer unpacking.End()
	u, err := newUnpacker(db, e.options, newLanes(e.options), true)
	if err != nil {
		return err
	}
	return u.run(ctx, affected)
}

func hasNewDiversion(list []string, before, now diversions) bool {
	for _, name := range list {
		if now.byPath[name] != before.byPath[name] {
			return true
		}
	}
	return false
}

// Install installs packages into a root that can run its own dpkg. They are unpacked in the order given, except that
// what a package pre-depends on is unpacked and configured before it; in between nothing is configured, and all that is
// left at the end by one call of dpkg.
func Install(ctx context.Context, o Options, runner chroot.Runner, debs []Deb) error {
	c := Prepare(ctx, o, debs)
	defer c.Close()
	return c.Install(ctx, o, runner)
}

func install(ctx context.Context, o Options, runner chroot.Runner, c *Coming) error {
	root, err := openRootDir(o.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	db, err := readDatabase(root)
	if err != nil {
		return err
	}
	batches, err := planBatches(db.records, c.archives)
	if err != nil {
		return err
	}
	s := scripts{runner, root, db.version("dpkg")}
	for i, b := range batches {
		if err := s.configure(ctx, b.before, "--no-triggers"); err != nil {
			return err
		}
		if err := s.unpack(ctx, o, b.unpack, c); err != nil {
			return err
		}
		if o.Placed == nil {
			continue
		}
		if err := o.Placed(i == len(batches)-1); err != nil {
			return err
		}
	}
	debug.FreeOSMemory() // what unpacking took, for the programs of packages
	return s.configurePending(ctx)
}
