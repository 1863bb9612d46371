package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"vmbuild/cmd/bench/measure"
)

// atOnce is how many builds share a cache.
const atOnce = 10

// together makes images at the same time on one cache that has nothing but packages, and says in how many of those builds
// packages were unpacked: in one, if the others wait for it.
func (b *bench) together(ctx context.Context) (note string, err error) {
	err = b.inPlace(togetherRow, false, func(p place) error {
		if _, err := measure.Run(ctx, b.buildIn(p, "first", build+"\n"+forget)); err != nil { // fetches the packages
			return err
		}
		alone, err := measure.Run(ctx, b.buildIn(p, "alone", build))
		if err != nil {
			return err
		}
		if _, err := measure.Run(ctx, b.buildIn(p, "none", forget)); err != nil {
			return err
		}
		var commands []measure.Command
		for n := range atOnce {
			commands = append(commands, b.buildIn(p, fmt.Sprint(n), build+` --log "$OUT/log"`))
		}
		all, err := measure.Run(ctx, commands...)
		if err != nil {
			return err
		}
		unpacked, err := unpackedIn(p.dir)
		if err != nil {
			return err
		}
		note = fmt.Sprintf("%d bootable images at once on one cache, with nothing in it but packages: %s; one alone: %s. "+
			"Packages were unpacked in %d of the %d builds.", atOnce, usageText(all), usageText(alone), unpacked, atOnce)
		fmt.Fprintln(b.progress, note)
		return nil
	})
	return note, err
}

// buildIn is a script whose OUT has a name.
func (b *bench) buildIn(p place, name, script string) measure.Command {
	return measure.Command{
		Args: []string{"sh", "-ec", `mkdir "$OUT"` + "\n" + script}, Dir: p.dir,
		Env: b.environment(p, filepath.Join(p.dir, name), 0), Log: filepath.Join(b.out, "logs", togetherRow+"-"+name+".log"),
	}
}

func usageText(u measure.Usage) string {
	return fmt.Sprintf("%.1f s, %.1f s of processor time, %.0f MB of memory",
		u.Wall.Seconds(), u.CPU.Seconds(), float64(u.Peak)/1e6)
}

// unpackedIn counts the builds whose log has the stage in which packages are unpacked.
func unpackedIn(dir string) (n int, err error) {
	for build := range atOnce {
		log, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(build), "log"))
		if err != nil {
			return 0, err
		}
		if bytes.Contains(log, []byte(`"msg":"stage","stage":"unpack"`)) {
			n++
		}
	}
	return n, nil
}
