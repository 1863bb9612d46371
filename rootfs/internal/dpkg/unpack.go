package dpkg

import (
	"context"
	"fmt"
	"path"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"vmbuild/rootfs/span"
)

// unpacker puts the files of several packages into a root at the same time.
type unpacker struct {
	root       *rootDir
	owners     *owners
	diversions diversions
	overrides  map[string]override
	users      map[string]int // of the root; empty as long as it has no /etc/passwd
	groups     map[string]int
	filter     filter
	first      bool // the root is not yet one: see Extract
	dirs       directories
	lanes      lanes
	record     func(a *archive) error // what has been unpacked; nil: that is known already
	unpacked   func(name string)
}

// newUnpacker reads what the root's present state means for files to come.
func newUnpacker(db *database, o Options, lanes lanes, first bool) (*unpacker, error) {
	u := &unpacker{
		root: db.root, owners: newOwners(), diversions: db.diversions, first: first,
		dirs: directories{entries: map[string]*directory{}}, lanes: lanes, unpacked: o.Unpacked,
	}
	var err error
	if u.filter, err = newFilter(o.PathRules); err != nil {
		return nil, err
	}
	for _, file := range []struct {
		name string
		read func([]byte) error
	}{
		{"/etc/passwd", func(b []byte) error { u.users = parseIDs(b); return nil }},
		{"/etc/group", func(b []byte) error { u.groups = parseIDs(b); return nil }},
		{adminDir + "/statoverride", func(b []byte) (err error) {
			u.overrides, err = parseOverrides(b, u.users, u.groups)
			return err
		}},
	} {
		data, err := u.root.readOptional(file.name)
		if err != nil {
			return nil, err
		}
		if err := file.read(data); err != nil {
			return nil, err
		}
	}
	for _, r := range db.records {
		list, err := db.readList(r)
		if err != nil {
			return nil, err
		}
		for _, name := range list {
			u.owners.note(u.diversions.place(name, r.name), r)
		}
	}
	return u, nil
}

// run unpacks the packages, the largest first, so that none is left to be waited for at the end.
func (u *unpacker) run(ctx context.Context, archives []*archive) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cap(u.lanes))
	for _, a := range largestFirst(archives) {
		group.Go(func() error {
			u.lanes.enter()
			defer u.lanes.leave()
			ctx, unpacking := span.Start(ctx, span.Lane, a.name)
			defer unpacking.End()
			unpacking.Read(a.size)
			x := newExtraction(u, a)
			defer x.Close()
			if err := x.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", path.Base(a.path), err)
			}
			if u.record != nil {
				if err := u.record(a); err != nil {
					return err
				}
			}
			unpacking.Wrote(x.written)
			if u.unpacked != nil {
				u.unpacked(a.name)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return u.dirs.finish(u)
}

// attributes are what a path has besides its content.
type attributes struct {
	uid, gid int
	mode     uint32 // 12 bits
	time     time.Time
}

// directories collects what packages say of directories. Which package makes a directory that several have is chance
// while they are unpacked; the attributes are set at the end, those of the first package in order of installation that
// has it, as dpkg does, or for the first packages of a root those of the last, as tar does in mmdebstrap's extraction.
type directories struct {
	mu      sync.Mutex
	entries map[string]*directory
}

type directory struct {
	attributes
	order int
	made  bool // by this unpacker
	known bool // a package has it: attributes and order are set
}

// made notes that the directory was made now.
func (d *directories) made(place string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entry(place).made = true
}

// offer notes the attributes that the package of this order has for the directory.
func (d *directories) offer(place string, order int, last bool, a attributes) {
	d.mu.Lock()
	defer d.mu.Unlock()
	entry := d.entry(place)
	if !entry.known || (order > entry.order) == last {
		entry.attributes, entry.order, entry.known = a, order, true
	}
}

func (d *directories) entry(place string) *directory {
	entry, ok := d.entries[place]
	if !ok {
		entry = &directory{}
		d.entries[place] = entry
	}
	return entry
}

// finish sets the attributes. A directory that was there before keeps its own unless the root is a first one's.
func (d *directories) finish(u *unpacker) error {
	for place, entry := range d.entries {
		if !entry.known || !entry.made && !u.first {
			continue
		}
		fd, err := u.root.open(place, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue // a symbolic link to a directory, which stays as it is
		}
		err = setDirectory(fd, entry.attributes)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("set attributes of directory %q: %w", place, err)
		}
	}
	return nil
}

func setDirectory(fd int, a attributes) error {
	if err := unix.Fchown(fd, a.uid, a.gid); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, a.mode); err != nil {
		return err
	}
	return unix.UtimesNanoAt(fd, ".", times(a.time), unix.AT_SYMLINK_NOFOLLOW)
}

// times are atime and mtime for utimensat(2).
func times(t time.Time) []unix.Timespec {
	spec := unix.NsecToTimespec(t.UnixNano())
	return []unix.Timespec{spec, spec}
}
