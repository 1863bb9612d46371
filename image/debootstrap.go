package image

import (
	"fmt"
	"slices"
)

// debootstrapOpts are what --debootstrapopts asks for, and where that says nothing what the suite's script does.
func (o Options) debootstrapOpts() (DebootstrapOpts, error) {
	opts, err := ParseDebootstrapOpts(o.DebootstrapOpts)
	if err != nil {
		return opts, err
	}
	opts = opts.Over(o.Script.Opts)
	if opts.Arch != "" && opts.Arch != o.Arch {
		return opts, fmt.Errorf("arch=%s contradicts --arch=%s", opts.Arch, o.Arch)
	}
	if variants := o.Script.Variants; len(variants) > 0 && opts.Variant != "" && !slices.Contains(variants, opts.Variant) {
		return opts, fmt.Errorf("variant=%s is not one of the suite's script", opts.Variant)
	}
	return opts, nil
}
