package bootstrap

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"vmbuild/hooks"
	"vmbuild/image"
	"vmbuild/image/output"
	"vmbuild/image/stages"
	"vmbuild/rootfs"
	"vmbuild/rootfs/arch"
	"vmbuild/rootfs/sources"
	"vmbuild/rootfs/suite"
)

// Plan is everything about a bootstrap that can be decided without network. Equal Options give equal Plans.
type Plan struct {
	Spec    rootfs.Spec  `json:"spec"`
	Hooks   []hooks.Hook `json:"hooks,omitempty"`
	Include []string     `json:"include,omitempty"` // as the hooks are told
	Target  string       `json:"target"`            // "-": standard output
	Format  string       `json:"format"`            // "auto": as Target is when it is opened
	Mode    string       `json:"mode"`

	Simulate     bool   `json:"simulate,omitempty"`
	PrintNames   bool   `json:"printNames,omitempty"`
	DownloadOnly bool   `json:"downloadOnly,omitempty"`
	Tarball      string `json:"tarball,omitempty"` // of packages, to be made
	From         string `json:"from,omitempty"`    // such a tarball, to be used
	Keep         string `json:"keep,omitempty"`    // directory for the packages
	Marks        Marks  `json:"marks,omitempty"`
	SecondStage  bool   `json:"secondStage,omitempty"`
	Offline      bool   `json:"offline,omitempty"`
	Verbosity    int    `json:"verbosity"`

	Notes []string `json:"notes,omitempty"` // what the user should hear of
}

// Files of the tree that hold the options of apt and dpkg, named as mmdebstrap names them; what reads them there, finds
// them here.
const (
	aptConfig   = "etc/apt/apt.conf.d/99mmdebstrap"
	dpkgConfig  = "etc/dpkg/dpkg.cfg.d/99mmdebstrap"
	preferences = "etc/apt/preferences.d/99vmbuild"
)

// NewPlan decides all that can be decided from the options and the tables. It refuses with a *image.RefusedError that
// names every problem at once.
func NewPlan(o Options) (*Plan, error) {
	p := &Plan{
		Hooks: o.Hooks, Include: o.Include, Target: orElse(o.Target, "-"), Format: orElse(o.Format, "auto"), Mode: o.Mode,
		Simulate: o.Simulate, PrintNames: o.PrintPackages, DownloadOnly: o.DownloadOnly, Tarball: o.MakeTarball,
		From: o.UnpackTarball, Keep: o.KeepPackages, Marks: o.Marks, SecondStage: o.Foreign, Offline: o.Offline,
		Verbosity: o.Verbosity,
	}
	var problems []string
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	o.check(refuse)
	files, err := o.sources()
	if errors.Is(err, sources.ErrNone) && o.has(hooks.Setup) {
		err = nil // the hook writes them
	}
	if err != nil {
		refuse("%v", err)
	}
	if len(problems) > 0 {
		return nil, &image.RefusedError{Problems: problems}
	}
	p.Spec = o.spec(files)
	p.Notes = o.notes()
	return p, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// check says what is wrong with the options, alone and together.
func (o Options) check(refuse func(string, ...any)) {
	if o.Variant != "" && !slices.Contains(rootfs.Variants(), o.Variant) {
		refuse("--variant=%s is not one of %s", o.Variant, strings.Join(rootfs.Variants(), ", "))
	}
	if o.Format != "" && o.Format != "auto" {
		if _, err := output.LookupTree(o.Format); err != nil {
			refuse("--format: %v", err)
		}
	}
	if len(o.Architectures) == 0 {
		refuse("--architectures names no architecture")
	}
	for _, name := range o.Architectures {
		if _, err := arch.Lookup(name); err != nil {
			refuse("--architectures: %v", err)
		}
	}
	for _, key := range o.Skip {
		if !slices.Contains(rootfs.Skippable(), key) {
			refuse("--skip=%s is not a step that can be left out (%s)", key, strings.Join(rootfs.Skippable(), ", "))
		}
	}
	if o.Suite == "" && len(o.Mirrors) == 0 {
		refuse("no suite: name one, or give apt sources as MIRROR arguments or on standard input")
	}
	if (o.Variant == "custom" || o.Variant == "extract") && len(o.Include) == 0 {
		refuse("--variant=%s installs nothing but what --include names: name a package", o.Variant)
	}
}

// notes are choices that a user may not expect.
func (o Options) notes() []string {
	var notes []string
	if o.Simulate && len(o.Hooks) > 0 {
		notes = append(notes, "hooks are not run by --simulate")
	}
	notes = append(notes, o.unusedNotes()...)
	if o.NoCheckSignatures {
		notes = append(notes, "signatures of archives are not checked")
	}
	return notes
}

func (o Options) has(stage hooks.Stage) bool {
	return slices.ContainsFunc(o.Hooks, func(h hooks.Hook) bool { return h.Stage == stage })
}

// unusedNotes tell what of the options has no effect beside others.
func (o Options) unusedNotes() []string {
	var notes []string
	late := o.has(hooks.Essential) || o.has(hooks.Customize)
	switch {
	case (o.DownloadOnly || o.MakeTarball != "") && len(o.Hooks) > 0:
		notes = append(notes, "hooks are not run: only packages are wanted")
	case (o.Foreign || o.UnpackOnly || rootfs.ConfiguresNothing(o.Variant)) && late:
		notes = append(notes, "hooks of stages essential and customize are not run: nothing is configured")
	}
	if o.UnpackTarball != "" && len(o.Include)+len(o.Exclude)+len(o.Omit) > 0 {
		notes = append(notes, "the tarball says which packages are installed: --include and --exclude have no part in it")
	}
	return notes
}

// sources are the files of apt's sources.
func (o Options) sources() ([]sources.File, error) {
	if len(o.Mirrors) == 0 {
		return sources.Default(sources.Wanted{
			Suite: o.Suite, Components: o.Components, Architectures: o.Architectures,
			Main: o.Defaults.Main, Security: o.Defaults.Security,
		})
	}
	var arguments []sources.Argument
	for _, m := range o.Mirrors {
		arguments = append(arguments, sources.Argument(m))
	}
	return sources.FromArguments(o.Suite, o.Components, arguments)
}

// spec is what the packages are chosen by, and what is in the tree before them.
func (o Options) spec(files []sources.File) rootfs.Spec {
	s := rootfs.Spec{
		Arch: o.Architectures[0], Foreign: o.Architectures[1:], Suite: codename(o.Suite), Components: o.Components,
		Archives: stages.Archives(files, o.Architectures), Variant: orElse(o.Variant, rootfs.DefaultVariant),
		Include: o.Include, Exclude: o.Exclude, Omit: o.Omit, Recommends: o.Recommends,
		Preferences: o.Preferences, DefaultRelease: o.Release, Debconf: o.Debconf,
		Apt: configuration(o.AptOptions, ";"), Dpkg: configuration(o.DpkgOptions, ""),
		Keyrings: o.Keyrings, TLS: o.TLS, Unauthenticated: o.NoCheckSignatures, IgnoreValidUntil: o.NoCheckValidUntil,
		UnpackOnly: o.Foreign || o.UnpackOnly, SplitUsr: o.NoMergedUsr, Skip: o.Skip, Epoch: o.Epoch,
	}
	for i := range s.Archives {
		if a := &s.Archives[i]; o.InRelease != "" && (a.Suite == o.Suite || a.Suite == s.Suite) {
			a.InRelease = o.InRelease
		}
	}
	for _, f := range files {
		s.Files = append(s.Files, rootfs.File{Path: "etc/apt/" + f.Name, Content: f.Content})
	}
	for _, f := range []rootfs.File{
		{Path: aptConfig, Content: s.Apt}, {Path: dpkgConfig, Content: s.Dpkg}, {Path: preferences, Content: o.Preferences},
	} {
		if f.Content != "" {
			s.Files = append(s.Files, f)
		}
	}
	if o.NoMergedUsr && needsSplitUsrFile(o.Suite) {
		s.Files = append(s.Files, splitUsrFile)
	}
	return s
}

// codename is what a suite of the table is called whatever it is the stable one of today.
func codename(name string) string {
	if s, err := suite.Lookup(name); err == nil {
		return s.Codename
	}
	return name
}

// configuration puts options together, one in a line, each with the end that its language wants.
func configuration(options []string, end string) string {
	var b strings.Builder
	for _, text := range options {
		text = strings.TrimRight(text, "\n")
		b.WriteString(text)
		if !strings.Contains(text, "\n") && !strings.HasSuffix(text, end) {
			b.WriteString(end)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (p *Plan) configuresNothing() bool {
	return p.Spec.UnpackOnly || p.packagesOnly() || rootfs.ConfiguresNothing(p.Spec.Variant)
}

// printsOnly says whether nothing is made.
func (p *Plan) printsOnly() bool { return p.Simulate || p.PrintNames }
