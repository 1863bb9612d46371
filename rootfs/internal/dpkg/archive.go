package dpkg

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"

	"vmbuild/rootfs/internal/control"
	"vmbuild/rootfs/internal/deb"
	"vmbuild/rootfs/span"
)

// Deb is a package file.
type Deb struct {
	Path   string
	Ready  func(context.Context) error // returns when the file is there; nil: it is
	SHA256 string                      // in hexadecimal; if it is set, the file's bytes are checked before anything of it is unpacked

	// Refetch makes the file at Path anew, once, if its bytes are not those; nil: nobody can.
	Refetch func(context.Context) error
}

// archive is a package file on its way into the root.
type archive struct {
	record
	path      string
	size      int64 // of the file, bytes
	control   map[string]deb.Member
	conffiles []conffile
	triggers  []directive
	ahead     ahead

	// What unpacking finds out:
	list    []string        // its paths, as dpkg lists them
	digests strings.Builder // lines for md5sums, if the package has no such member
}

// conffile is a line of a package's control member conffiles.
type conffile struct {
	path            string
	removeOnUpgrade bool   // not in the package: dpkg removes it when it upgrades
	digest          string // MD5 in hexadecimal once it is in its place; until then dpkg will put it there
}

// newConffile is the digest of a conffile that dpkg has still to install (its NEWCONFFILEFLAG).
const newConffile = "newconffile"

// readArchives opens all packages, several at a time, and reads their control members.
func readArchives(ctx context.Context, debs []Deb, parallel int) ([]*archive, error) {
	archives := make([]*archive, len(debs))
	ctx, unpacking := span.Start(ctx, span.Stage, "unpack")
	defer unpacking.End()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, d := range debs {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if d.Ready != nil {
				if err := d.Ready(ctx); err != nil {
					return err
				}
			}
			_, reading := span.Start(ctx, span.Lane, "read")
			defer reading.End()
			a, err := readArchive(d)
			if errors.As(err, new(*damage)) && d.Refetch != nil {
				if err = d.Refetch(ctx); err == nil {
					a, err = readArchive(d)
				}
			}
			if err != nil {
				return fmt.Errorf("%s: %w", path.Base(d.Path), err)
			}
			reading.Read(a.size)
			reading.Note("package", a.name)
			a.order = i
			archives[i] = a
			return nil
		})
	}
	return archives, group.Wait()
}

func readArchive(d Deb) (*archive, error) {
	file, err := os.Open(d.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := checkSum(file, d.SHA256); err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	pkg, err := deb.Open(file, info.Size())
	if err != nil {
		return nil, err
	}
	r, err := controlRecord(pkg.Control["control"].Data)
	if err != nil {
		return nil, err
	}
	a := &archive{record: *r, path: d.Path, size: info.Size(), control: pkg.Control}
	if a.conffiles, err = parseConffiles(pkg.Control["conffiles"].Data); err != nil {
		return nil, err
	}
	a.triggers, err = parseTriggers(pkg.Control["triggers"].Data)
	return a, err
}

// controlRecord reads a control file, which is one stanza.
func controlRecord(data []byte) (*record, error) {
	var stanza []control.Field
	for fields, err := range stanzas(data) {
		if err != nil {
			return nil, fmt.Errorf("control: %w", err)
		}
		if stanza != nil {
			return nil, errors.New("control: more than one stanza")
		}
		stanza = fields
	}
	return newRecord(stanza)
}

// damage is a file whose bytes are not those that were verified when it came.
type damage struct{ got, want string }

func (d *damage) Error() string {
	return fmt.Sprintf("its bytes have SHA256 %s, not %s", d.got, d.want)
}

func checkSum(file io.Reader, want string) error {
	if want == "" {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); !strings.EqualFold(got, want) {
		return &damage{got, want}
	}
	return nil
}

// parseConffiles reads lines of absolute paths, which "remove-on-upgrade" may precede (deb-conffiles(5)).
func parseConffiles(data []byte) ([]conffile, error) {
	var conffiles []conffile
	for line := range bytes.Lines(data) {
		name := strings.TrimRight(string(line), " \t\r\n")
		if name == "" {
			continue
		}
		name, remove := strings.CutPrefix(name, "remove-on-upgrade ")
		if name == "" || name[0] != '/' {
			return nil, fmt.Errorf("conffiles: %q is not an absolute path", name)
		}
		conffiles = append(conffiles, conffile{path: name, removeOnUpgrade: remove, digest: newConffile})
	}
	return conffiles, nil
}

// conffile returns the entry of a path that is to be installed as a conffile, nil if it is none.
func (a *archive) conffile(name string) *conffile {
	for i := range a.conffiles {
		if a.conffiles[i].path == name && !a.conffiles[i].removeOnUpgrade {
			return &a.conffiles[i]
		}
	}
	return nil
}

// setConffiles writes the field Conffiles of the package's stanza.
func (a *archive) setConffiles() {
	if len(a.conffiles) == 0 {
		return
	}
	var b strings.Builder
	for _, c := range a.conffiles {
		fmt.Fprintf(&b, "\n %s %s", c.path, c.digest)
		if c.removeOnUpgrade {
			b.WriteString(" remove-on-upgrade")
		}
	}
	a.fields = append(a.fields, control.Field{Name: "Conffiles", Value: b.String()})
}
