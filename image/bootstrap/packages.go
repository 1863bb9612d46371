package bootstrap

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vmbuild/rootfs"
)

// Marks says which packages apt may remove when nothing needs them any more, as they are marked as automatically
// installed (apt-mark(8)).
type Marks string

const (
	MarkByApt   Marks = ""        // those that nobody asked for, by name, pattern or priority
	MarkNone    Marks = "none"    // none
	MarkUnnamed Marks = "unnamed" // all whose names Include does not have: patterns are no names
)

// LikeDebootstrap asks for what debootstrap's scripts choose where that is not mmdebstrap's choice (debian-common of
// debootstrap 1.0.145): in bookworm, usr-is-merged stands for usrmerge, which would convert a system that needs no
// conversion; up to there, variant buildd has the packages of priority required, and /bin, /lib and /sbin are directories,
// unless mergedUsr says that they are not to be.
func (o Options) LikeDebootstrap(mergedUsr bool) Options {
	name := codename(o.Suite)
	if o.Variant == "buildd" && slices.Contains(beforeTrixie, name) {
		o.Variant, o.Include = "required", append([]string{"build-essential"}, o.Include...)
		o.NoMergedUsr = !mergedUsr
	}
	if name == "bookworm" {
		o.Include = append(slices.Clip(o.Include), "usr-is-merged")
		o.Exclude = append(slices.Clip(o.Exclude), "usrmerge")
	}
	return o
}

var beforeTrixie = []string{"jessie", "stretch", "buster", "bullseye", "bookworm"}

// splitUsrFile is what keeps packages of bookworm and later from merging /usr, or from refusing a system where it is not
// merged (usrmerge's convert-usrmerge, usr-is-merged's preinst). The text is debootstrap's.
var splitUsrFile = rootfs.File{
	Path: "etc/unsupported-skip-usrmerge-conversion", Content: "this system will not be supported in the future\n",
}

// needsSplitUsrFile says whether packages of a suite look for that file.
func needsSplitUsrFile(name string) bool {
	i := slices.Index(beforeTrixie, codename(name))
	return i < 0 || beforeTrixie[i] == "bookworm"
}

// resolve finds the packages of a Spec: in the tarball that the plan names, else in the Spec's archives.
func (b *build) resolve(ctx context.Context, spec rootfs.Spec) (*rootfs.Lock, error) {
	var err error
	if b.plan.From != "" {
		b.lock, err = b.Roots.ReadTarball(ctx, spec, b.plan.From)
	} else {
		b.lock, err = b.Roots.Resolve(ctx, spec)
	}
	if err != nil {
		return nil, err
	}
	b.plan.mark(b.lock)
	return b.lock, nil
}

// mark marks the packages as the plan says.
func (p *Plan) mark(l *rootfs.Lock) {
	if p.Marks == MarkByApt {
		return
	}
	var named []string
	for _, word := range p.Spec.Include {
		named = append(named, word[:len(word)-len(strings.TrimLeft(word, packageNameChars))])
	}
	for i := range l.Packages {
		l.Packages[i].Auto = p.Marks == MarkUnnamed && !slices.Contains(named, l.Packages[i].Name)
	}
}

// packageNameChars are all that names of packages are made of (Debian Policy 5.6.7): what of a word of Include is beyond,
// is a version, suite or architecture.
const packageNameChars = "abcdefghijklmnopqrstuvwxyz0123456789+-."

// packagesOnly says whether only packages are wanted, and no system.
func (p *Plan) packagesOnly() bool { return p.DownloadOnly || p.Tarball != "" }

// packages writes the packages and nothing else: as a tarball, or as a tree with apt's directory of them.
func (b *build) packages(ctx context.Context) error {
	lock, err := b.resolve(ctx, b.plan.Spec)
	if err != nil {
		return err
	}
	if b.plan.Tarball != "" {
		return b.Roots.WriteTarball(ctx, lock, b.out)
	}
	dir := filepath.Join(b.Work, "tree")
	if err := os.MkdirAll(filepath.Join(dir, rootfs.AptArchives), 0o755); err != nil {
		return fmt.Errorf("make the tree: %w", err)
	}
	stack, err := b.Roots.PackageTree(ctx, lock, dir)
	if err != nil {
		return err
	}
	if err := b.keepPackages(ctx); err != nil {
		return err
	}
	return b.write(ctx, stack, nil)
}

// keepPackages puts the packages where the user wants them too.
func (b *build) keepPackages(ctx context.Context) error {
	if b.plan.Keep == "" {
		return nil
	}
	return b.Roots.Download(ctx, b.lock, b.plan.Keep)
}

// unpacked does with a tree of which nothing is configured what complete does with a configured one.
func (b *build) unpacked(stack *rootfs.Stack) error {
	if b.plan.SecondStage || b.plan.Marks != MarkByApt {
		if err := b.lock.WriteMarks(stack.Dir); err != nil {
			return err
		}
	}
	if b.plan.SecondStage {
		return b.lock.WriteSecondStage(stack.Dir)
	}
	return nil
}
