package rootfs

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"vmbuild/rootfs/internal/dpkg"
	"vmbuild/rootfs/tree"
)

// SecondStage is where the script is that configures a tree whose packages are only unpacked, as debootstrap has it.
const SecondStage = "/debootstrap/debootstrap"

// The script does what install does; what it does that with is in files beside it.
const (
	secondStageSteps   = "steps"   // its functions, called for the packages of this tree
	secondStageAnswers = "answers" // for debconf-set-selections
)

//go:embed secondstage.sh
var secondStageScript string

// WriteSecondStage puts a script into a tree of unpacked packages that configures them when it is run there, as root, on a
// machine that can run its programs: chroot DIR /debootstrap/debootstrap --second-stage. It removes itself when all is
// done; until then it can be run again.
//
// Other than install it has no package files: a package whose path a preinst script diverts keeps the file that was
// unpacked there. None of Debian's priority required or important is such a package.
func (l *Lock) WriteSecondStage(root string) error {
	if err := l.writeSecondStage(root); err != nil {
		return fmt.Errorf("write the script of the second stage: %w", err)
	}
	return nil
}

func (l *Lock) writeSecondStage(root string) error {
	if err := l.needDpkg(); err != nil {
		return err
	}
	steps, err := l.secondStageSteps(root)
	if err != nil {
		return err
	}
	top, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer top.Close()
	dir := strings.TrimPrefix(path.Dir(SecondStage), "/")
	if err := top.Mkdir(dir, 0o755); err != nil {
		return err
	}
	type file struct {
		name, content string
		mode          os.FileMode
	}
	files := []file{{path.Base(SecondStage), secondStageScript, 0o755}, {secondStageSteps, steps, 0o644}}
	if len(l.Debconf) > 0 {
		files = append(files, file{secondStageAnswers, strings.Join(l.Debconf, "\n") + "\n", 0o644})
	}
	for _, f := range files {
		name := path.Join(dir, f.name)
		err = errors.Join(err, top.WriteFile(name, []byte(f.content), f.mode), top.Chmod(name, f.mode))
	}
	return err
}

// secondStageSteps are the calls of the script's functions: those that install makes.
func (l *Lock) secondStageSteps(root string) (string, error) {
	var b strings.Builder
	for _, d := range tree.StandardDevices() {
		if d.Type == tree.CharDevice {
			fmt.Fprintf(&b, "device %s %d %d\n", d.Path, d.Major, d.Minor)
		}
	}
	call := func(function string, packages []string) {
		if len(packages) > 0 {
			fmt.Fprintf(&b, "%s %s\n", function, strings.Join(packages, " "))
		}
	}
	essential, rest := l.fullNames()
	batches, err := dpkg.Deferred(root, essential, rest)
	if err != nil {
		return "", err
	}
	call("prepare", essential)
	call("configure --force-depends", essential)
	if len(l.Debconf) > 0 {
		fmt.Fprintf(&b, "debconf-set-selections \"$here/%s\"\n", secondStageAnswers)
	}
	for _, batch := range batches {
		call("configure --no-triggers", batch.Configure)
		call("prepare", batch.Prepare)
	}
	return b.String(), nil
}

// fullNames are the packages of both stages as dpkg names them without doubt.
func (l *Lock) fullNames() (essential, rest []string) {
	for _, p := range l.Packages {
		if name := p.Name + ":" + p.Arch; p.Essential {
			essential = append(essential, name)
		} else {
			rest = append(rest, name)
		}
	}
	return essential, rest
}

// WriteMarks notes in a tree of unpacked packages which of them nobody has asked for, as install does when it is done
// (extended_states, apt-mark(8)).
func (l *Lock) WriteMarks(root string) error {
	state, err := openInside(root, "var/lib/apt")
	if err == nil && state != nil {
		err = errors.Join(state.WriteFile("extended_states", []byte(extendedStates(l)), 0o644), state.Close())
	}
	if err != nil {
		return fmt.Errorf("note apt's state: %w", err)
	}
	return nil
}
