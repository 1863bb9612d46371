package cli

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmbuild/image"
	"vmbuild/rootfs/layer"
	"vmbuild/rootfs/namespace"
	"vmbuild/rootfs/offers"
)

func TestMain(m *testing.M) {
	if namespace.Inner() {
		os.Exit(namespace.Serve(image.Handlers()))
	}
	os.Exit(m.Run())
}

func TestParseAge(t *testing.T) {
	const day = age(24 * time.Hour)
	for text, want := range map[string]age{
		"30d": 30 * day, "2w": 14 * day, "1w3d": 10 * day, "1w1d12h": 8*day + day/2, "12h": day / 2, "90m": age(90 * time.Minute),
		"1.5h": age(90 * time.Minute), "15000w": 105000 * day,
	} {
		if got, err := parseAge(text); got != want || err != nil {
			t.Errorf("%s is %s, %v", text, time.Duration(got), err)
		}
	}
	for text, want := range map[string]string{
		"":               `"" is not a time such as 30d, 2w or 12h`,
		"30":             `"30" is not a time such as 30d, 2w or 12h`,
		"-3d":            `"-3d" is not a time such as 30d, 2w or 12h`,
		"3d-1h":          `"3d-1h" is not a time such as 30d, 2w or 12h`,
		"1d2w":           `"1d2w" is not a time such as 30d, 2w or 12h`,
		"soon":           `"soon" is not a time such as 30d, 2w or 12h`,
		"1.5d":           `"1.5d" is not a time such as 30d, 2w or 12h`,
		"0d":             `"0d" is no time at all`,
		"0s":             `"0s" is no time at all`,
		"16000w":         `"16000w" is longer than vmbuild can count`,
		"15000w2562047h": `"15000w2562047h" is longer than vmbuild can count`,
	} {
		if got, err := parseAge(text); err == nil || err.Error() != want {
			t.Errorf("%s is %s, %v", text, time.Duration(got), err)
		}
	}
}

// FuzzParseAge: what is taken for a time is one that has passed.
func FuzzParseAge(f *testing.F) {
	for _, text := range []string{"30d", "2w", "1w3d12h30m", "-1d", "99999999999999999999w", "1e3h", "NaNh", "1d\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parseAge(text); err == nil && got <= 0 {
			t.Errorf("%q is %s", text, time.Duration(got))
		}
	})
}

func TestPruneOptions(t *testing.T) {
	const day = 24 * time.Hour
	week, size, nothing := age(7*day), image.Size(5<<30), image.Size(0)
	for _, test := range []struct {
		cmd  cachePruneCmd
		want layer.PruneOptions
	}{
		{cachePruneCmd{}, layer.PruneOptions{Layers: true, Objects: true, OlderThan: 30 * day}},
		{cachePruneCmd{DryRun: true}, layer.PruneOptions{Layers: true, Objects: true, OlderThan: 30 * day, DryRun: true}},
		{cachePruneCmd{Layers: true}, layer.PruneOptions{Layers: true}},
		{cachePruneCmd{Packages: true}, layer.PruneOptions{Objects: true}},
		{cachePruneCmd{Layers: true, Packages: true}, layer.PruneOptions{Layers: true, Objects: true}},
		{cachePruneCmd{Layers: true, OlderThan: &week}, layer.PruneOptions{Layers: true, OlderThan: 7 * day}},
		{cachePruneCmd{OlderThan: &week}, layer.PruneOptions{Layers: true, Objects: true, OlderThan: 7 * day}},
		{cachePruneCmd{MaxSize: &size}, layer.PruneOptions{Layers: true, Objects: true, MaxSize: 5 << 30}},
	} {
		if got, err := test.cmd.options(); got != test.want || err != nil {
			t.Errorf("%+v: %+v, %v", test.cmd, got, err)
		}
	}
	if _, err := (&cachePruneCmd{MaxSize: &nothing}).options(); err == nil {
		t.Error("--max-size=0 is taken")
	}
}

func TestWrongCacheCommandLines(t *testing.T) {
	for line, want := range map[string]string{
		"cache":                       `expected one of "list", "prune", "verify"`,
		"cache prune --older-than=30": `--older-than: "30" is not a time such as 30d, 2w or 12h`,
		"cache prune --older-than=0d": `--older-than: "0d" is no time at all`,
		"cache prune --max-size=0":    "--max-size=0 leaves nothing: say --layers --packages to remove everything",
		"cache prune --older-than":    "--older-than requires an argument",
		"cache list more":             "unexpected argument more",
	} {
		if diff := cmp.Diff(refusal(want), run(t, strings.Fields(line)...)); diff != "" {
			t.Errorf("%s:\n%s", line, diff)
		}
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1_250_000: "1.2 MB", 5 << 30: "5.4 GB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d is %s, not %s", n, got, want)
		}
	}
}

// TestNoCache: where there is no cache there is nothing, and what is no cache is not touched.
func TestNoCache(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none")
	for command, want := range map[string]string{
		"list":   none + ": 0 B\n",
		"prune":  "removed 0 B, 0 B left\n",
		"verify": "",
	} {
		if diff := cmp.Diff(result{Out: want}, run(t, "cache", command, "--cache-dir="+none)); diff != "" {
			t.Errorf("%s:\n%s", command, diff)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	want := result{statusFailed, "", "vmbuild: " + dir + " is no cache of vmbuild: there is no CACHEDIR.TAG of vmbuild's in it\n"}
	for _, command := range []string{"list", "prune", "verify"} {
		if diff := cmp.Diff(want, run(t, "cache", command, "--cache-dir="+dir)); diff != "" {
			t.Errorf("%s:\n%s", command, diff)
		}
	}
}

func sum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// newCache makes a cache with a layer and an object, both 40 days old.
func newCache(t *testing.T) (dir string, entries []layer.Entry) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "cache")
	c, err := layer.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	tree, _, err := c.Layer(t.Context(), sum("layer"), func(_ context.Context, dir string) error {
		return os.WriteFile(filepath.Join(dir, "lock.json"),
			[]byte(`{"suite":"trixie","arch":"amd64","configure":true,"packages":[{},{}]}`), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	object, err := c.Object(t.Context(), sum("object"), 6, func(_ context.Context, w io.Writer, _ int64) error {
		_, err := io.WriteString(w, "object")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-40 * 24 * time.Hour)
	for _, path := range []string{object, filepath.Join(filepath.Dir(tree), "complete")} {
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err = c.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, entries
}

func TestCacheCommands(t *testing.T) {
	offers.Need(t, "build")
	dir, entries := newCache(t)
	l, o := entries[0], entries[1]
	all, ofLayer, ofObject := bytesText(l.Size+o.Size), bytesText(l.Size), bytesText(o.Size)
	day := l.Used.Local().Format("2006-01-02 15:04")
	short, heading := l.Name[:12], fmt.Sprintf("%-*s", len(ofLayer), "SIZE")
	summary := dir + ": " + all + "\n  1 layer, " + ofLayer + "\n  1 download, " + ofObject + "\n"
	removal := func(verb, left string) string {
		return verb + " layer " + short + ", " + ofLayer + ", trixie amd64, 2 packages\n" +
			verb + " 1 layer, " + ofLayer + "\n" + verb + " 1 download, " + ofObject + "\n" +
			verb + " " + all + ", " + left + " left\n"
	}
	for _, step := range []struct{ args, want string }{
		{"list", summary + "\nKIND   NAME          " + heading + "  LAST USED         CONTENT\n" +
			"layer  " + short + "  " + ofLayer + "  " + day + "  trixie amd64, 2 packages\n"},
		{"prune --older-than=41d", "removed 0 B, " + all + " left\n"},
		{"prune --max-size=1T", "removed 0 B, " + all + " left\n"},
		{"prune --dry-run", removal("would remove", "0 B")},
		{"prune --packages --dry-run", "would remove 1 download, " + ofObject + "\nwould remove " + ofObject + ", " + ofLayer + " left\n"},
		{"prune", removal("removed", "0 B")},
		{"list", dir + ": 0 B\n"},
	} {
		got := run(t, append(strings.Fields("cache "+step.args), "--cache-dir="+dir)...)
		if diff := cmp.Diff(result{Out: step.want}, got); diff != "" {
			t.Errorf("%s:\n%s", step.args, diff)
		}
	}
}

func TestCacheListAll(t *testing.T) {
	offers.Need(t, "build")
	dir, entries := newCache(t)
	got := run(t, "cache", "list", "--all", "--cache-dir="+dir)
	for _, e := range entries {
		if !strings.Contains(got.Out, string(e.Kind)) || !strings.Contains(got.Out, " "+e.Name+" ") {
			t.Errorf("%s %s is not listed:\n%s", e.Kind, e.Name, got.Out)
		}
	}
}

// TestCacheInUse: what a build holds stays, and the user is told.
func TestCacheInUse(t *testing.T) {
	offers.Need(t, "build")
	dir, entries := newCache(t)
	c, err := layer.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, hit, err := c.Layer(t.Context(), sum("layer"), nil); !hit || err != nil {
		t.Fatalf("hit is %t, %v", hit, err)
	}
	size := bytesText(entries[0].Size)
	want := result{
		Out: "removed 0 B, " + bytesText(entries[0].Size+entries[1].Size) + " left\n",
		Err: "vmbuild: note: in use, and left alone: 1 layer, " + size + "\n",
	}
	if diff := cmp.Diff(want, run(t, "cache", "prune", "--layers", "--cache-dir="+dir)); diff != "" {
		t.Error(diff)
	}
}

// stageLine is what the display prints of a stage without a terminal.
var stageLine = regexp.MustCompile(`(?m)^verify +\d+\.\d s.*\n`)

func TestCacheVerify(t *testing.T) {
	offers.Need(t, "build")
	dir, entries := newCache(t)
	sizes := []string{bytesText(entries[0].Size), bytesText(entries[1].Size)}
	verify := func(args ...string) result {
		r := run(t, append([]string{"cache", "verify", "--cache-dir=" + dir}, args...)...)
		r.Err = stageLine.ReplaceAllString(r.Err, "")
		return r
	}
	sound := result{Out: "verified 1 layer, " + sizes[0] + "\nverified 1 download, " + sizes[1] + "\n"}
	if diff := cmp.Diff(sound, verify()); diff != "" {
		t.Error(diff)
	}
	name := filepath.Join(dir, "objects", sum("object")[:2], sum("object"))
	if err := os.WriteFile(name, []byte("objekt"), 0o644); err != nil {
		t.Fatal(err)
	}
	found := "object " + sum("object") + " has SHA256 " + sum("objekt")
	want := result{statusVerification, found + "\n", "vmbuild: 1 thing in the cache is damaged\n" +
		"vmbuild: vmbuild cache verify --remove removes what is damaged; what is needed again is fetched and made again\n"}
	if diff := cmp.Diff(want, verify()); diff != "" {
		t.Error(diff)
	}
	if got := verify("--remove"); got.Status != statusDone || !strings.HasPrefix(got.Out, found+" (removed)\n") {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff(result{Out: "verified 1 layer, " + sizes[0] + "\n"}, verify()); diff != "" {
		t.Error(diff)
	}
}
