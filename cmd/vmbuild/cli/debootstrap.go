package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"vmbuild/image/bootstrap"
	"vmbuild/rootfs"
	"vmbuild/rootfs/mirror"
)

// debootstrapCmd is the command line of vmbuild debootstrap. Of an option that is given twice, the last one counts.
type debootstrapCmd struct {
	Suite  string `arg:"" optional:"" help:"Debian suite or codename."`
	Target string `arg:"" optional:"" help:"Directory to make the system in."`
	Mirror string `arg:"" optional:"" help:"URL of the archive (default: the suite's own archives, updates and security too)."`
	Script string `arg:"" optional:"" help:"Not used: vmbuild knows suites by their archives."`

	Arch        string `help:"Architecture of the system." default:"${arch}" placeholder:"ARCH" group:"Packages"`
	Variant     string `help:"Which packages: minbase, buildd, fakechroot (as none); without it, those of priority required and important." placeholder:"NAME" group:"Packages"`
	Include     string `help:"Install these too." placeholder:"A,B" group:"Packages"`
	Exclude     string `help:"Do not install these, unless another package depends on them." placeholder:"A,B" group:"Packages"`
	Components  string `help:"Components of the archive (default main)." placeholder:"A,B" group:"Packages"`
	ExtraSuites string `help:"Further suites of the same archive." placeholder:"A,B" group:"Packages"`
	MergedUsr   bool   `help:"Make /bin, /sbin and /lib links into /usr where the suite does." default:"true" negatable:"" group:"Packages"`

	Keyring         string `help:"Trust the OpenPGP keys in this file." placeholder:"FILE" group:"Verification"`
	NoCheckGpg      bool   `help:"Take an archive without a good signature, too." aliases:"no-check-sig" group:"Verification"`
	ForceCheckGpg   bool   `help:"Refuse an archive without a good signature: what holds anyway." aliases:"force-check-sig" group:"Verification"`
	InreleasePath   string `help:"Path of the suite's InRelease file, from its usual place." placeholder:"PATH" group:"Verification"`
	CheckValidUntil bool   `help:"Refuse an archive that is past its Valid-Until date." default:"true" negatable:"" group:"Verification"`

	CaCertificate    string `help:"Believe servers by the certificates of authorities in this file (PEM)." placeholder:"FILE" group:"Connection"`
	Certificate      string `help:"Show servers this certificate (PEM)." placeholder:"FILE" group:"Connection"`
	PrivateKey       string `help:"Private key of the certificate, if it is not in the same file (PEM)." placeholder:"FILE" group:"Connection"`
	CheckCertificate bool   `help:"Refuse a server without a good certificate." default:"true" negatable:"" group:"Connection"`

	Foreign           bool   `help:"Leave the packages unpacked; the second stage, run in the system, configures them." group:"What to do"`
	SecondStage       bool   `help:"Configure what --foreign has left." group:"What to do"`
	SecondStageTarget string `help:"Where the second stage is run, instead of /." placeholder:"DIR" group:"What to do"`
	PrintDebs         bool   `help:"Print the names of the packages and stop." group:"What to do"`
	DownloadOnly      bool   `help:"Put the packages into the target's /var/cache/apt/archives and stop." group:"What to do"`
	MakeTarball       string `help:"Write the packages to this tarball and stop." placeholder:"FILE" group:"What to do"`
	UnpackTarball     string `help:"Take the packages from this tarball." placeholder:"FILE" group:"What to do"`

	Verbose bool `help:"Print what the programs of the build print." group:"Program"`
	Offline bool `help:"Take everything from the cache." group:"Program"`

	NoResolveDeps      bool   `hidden:"" noop:"dependencies are always installed"`
	ResolveDeps        bool   `hidden:"" noop:""`
	LogExtraDeps       bool   `hidden:"" noop:"there is no debootstrap.log"`
	KeepDebootstrapDir bool   `hidden:"" noop:"there is no /debootstrap to keep"`
	Extractor          string `hidden:"" noop:"vmbuild unpacks packages itself" enum:",dpkg-deb,ar" default:""`
	DebianInstaller    bool   `hidden:"" noop:"vmbuild does not talk to the installer"`
	timingOptions
	environment
}

// Run is called by kong.
func (c *debootstrapCmd) Run(ctx context.Context, k *kong.Context, do bootstrapper, s Streams) error {
	j, err := c.job(k)
	if err != nil {
		return usageError{err}
	}
	return c.timingOptions.run(ctx, s.Err, func(ctx context.Context) error { return j.run(ctx, do, c.environment, s) })
}

func (c *debootstrapCmd) job(k *kong.Context) (job, error) {
	if err := c.check(); err != nil {
		return job{}, err
	}
	j := job{options: bootstrap.Options{
		Suite: c.Suite, Target: c.Target, Variant: c.Variant, Format: "directory",
		Architectures: []string{c.Arch}, Components: unique(lists([]string{c.Components})),
		Include: lists([]string{c.Include}), Omit: lists([]string{c.Exclude}), NoMergedUsr: !c.MergedUsr,
		NoCheckSignatures: c.NoCheckGpg, NoCheckValidUntil: !c.CheckValidUntil, Offline: c.Offline,
		Foreign: c.Foreign, PrintPackages: c.PrintDebs, DownloadOnly: c.DownloadOnly,
		MakeTarball: c.MakeTarball, InRelease: c.InreleasePath, TLS: rootfs.TLS{NoCheck: !c.CheckCertificate}, Verbosity: 1,
		Skip: []string{rootfs.SkipEmpty}, // debootstrap goes on in a directory that has something in it
	}}
	if c.Verbose {
		j.options.Verbosity = 2
	}
	if err := c.files(&j.options); err != nil {
		return job{}, err
	}
	if c.Variant == "fakechroot" {
		j.options.Variant = ""
		j.note("--variant=fakechroot: no root is needed anyway")
	}
	if c.Script != "" {
		j.note("script %s is not used: vmbuild knows suites by their archives", c.Script)
	}
	for _, p := range k.Path {
		if p.Flag != nil && p.Flag.Tag.Get("noop") != "" {
			j.note("--%s has no meaning here: %s", p.Flag.Name, p.Flag.Tag.Get("noop"))
		}
	}
	c.sources(&j)
	if c.UnpackTarball == "" {
		j.options = j.options.LikeDebootstrap(isGiven(k, "merged-usr"))
	}
	return j, nil
}

// isGiven says whether an option is on the command line.
func isGiven(k *kong.Context, name string) bool {
	return slices.ContainsFunc(k.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == name })
}

// files finds the files that options name.
func (c *debootstrapCmd) files(o *bootstrap.Options) error {
	var keyring string
	for _, f := range []struct {
		option, name string
		path         *string
	}{
		{"--keyring", c.Keyring, &keyring},
		{"--ca-certificate", c.CaCertificate, &o.TLS.CA},
		{"--certificate", c.Certificate, &o.TLS.Certificate},
		{"--private-key", c.PrivateKey, &o.TLS.Key},
		{"--unpack-tarball", c.UnpackTarball, &o.UnpackTarball},
	} {
		if f.name == "" {
			continue
		}
		path, err := realPath(f.name)
		if err != nil {
			return fmt.Errorf("%s: %w", f.option, err)
		}
		*f.path = path
	}
	if keyring != "" {
		o.Keyrings = []string{keyring}
	}
	return nil
}

// check refuses what debootstrap would.
func (c *debootstrapCmd) check() error {
	if c.SecondStage {
		root := c.SecondStageTarget
		if root == "" {
			root = "/"
		}
		return fmt.Errorf("--second-stage: vmbuild needs no part in it: run chroot %s /debootstrap/debootstrap --second-stage",
			shellQuote(root))
	}
	if c.SecondStageTarget != "" {
		return errors.New("--second-stage-target is for --second-stage")
	}
	if c.Suite == "" || c.Target == "" {
		return errors.New("a suite and a target are needed")
	}
	if !slices.Contains([]string{"", "-", "minbase", "buildd", "fakechroot"}, c.Variant) {
		return fmt.Errorf("--variant=%s is not one of minbase, buildd, fakechroot", c.Variant)
	}
	if c.NoCheckGpg && c.ForceCheckGpg {
		return errors.New("--no-check-gpg and --force-check-gpg exclude each other")
	}
	if c.PrivateKey != "" && c.Certificate == "" {
		return errors.New("--private-key is of a --certificate, which is not given")
	}
	if c.Mirror != "" && !strings.Contains(c.Mirror, ":/") {
		return fmt.Errorf("mirror %q is not a URL", c.Mirror)
	}
	return c.oneThing()
}

// oneThing refuses to do several of the things that debootstrap does instead of all its work. Unpacking a tarball and
// leaving what was unpacked go together.
func (c *debootstrapCmd) oneThing() error {
	var given []string
	for _, o := range []struct {
		name  string
		given bool
	}{
		{"--foreign", c.Foreign && c.UnpackTarball == ""},
		{"--print-debs", c.PrintDebs},
		{"--download-only", c.DownloadOnly},
		{"--make-tarball", c.MakeTarball != ""},
		{"--unpack-tarball", c.UnpackTarball != ""},
	} {
		if o.given {
			given = append(given, o.name)
		}
	}
	if len(given) > 1 {
		return fmt.Errorf("%s exclude each other", strings.Join(given, ", "))
	}
	return nil
}

// sources takes MIRROR and --extra-suites: suites of one archive. A mirror that is reached by https needs certificates in
// the system, too.
func (c *debootstrapCmd) sources(j *job) {
	address := strings.TrimSuffix(c.Mirror, "/")
	if path, ok := strings.CutPrefix(address, "file:/"); ok {
		address = "file:///" + strings.TrimLeft(path, "/")
	}
	extra := unique(lists([]string{c.ExtraSuites}))
	if address == "" && len(extra) > 0 {
		address = mirror.Default
	}
	if address == "" {
		return
	}
	if strings.HasPrefix(address, "https://") {
		j.options.Include = append(j.options.Include, "ca-certificates")
	}
	components := j.options.Components
	if len(components) == 0 {
		components = []string{"main"}
	}
	j.options.Mirrors = []bootstrap.Mirror{{Argument: address}}
	for _, suite := range extra {
		line := fmt.Sprintf("deb %s %s %s", address, suite, strings.Join(components, " "))
		j.options.Mirrors = append(j.options.Mirrors, bootstrap.Mirror{Argument: line})
	}
}
