package rootfs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newLock is a lock without an empty field.
func newLock() *Lock {
	return &Lock{
		Arch: "amd64", Suite: "trixie",
		Sources: []Source{{URI: "http://m.example/debian", Suite: "trixie", Components: []string{"main"}, SignedBy: DebianKeyring}},
		Packages: []Package{
			{Name: "dash", Version: "0.5-1", Arch: "amd64", Source: 0, Path: "pool/dash.deb", Size: 7, SHA256: "ab", Essential: true},
			{Name: "tzdata", Version: "2025", Arch: "all", Source: 0, Path: "pool/tzdata.deb", Size: 8, SHA256: "cd", Auto: true},
		},
		Debconf: []string{"a b string c"}, MergeUsr: true, Configure: true,
		Epoch: time.Unix(1700000000, 0).UTC(), Date: time.Unix(1750000000, 0).UTC(),
	}
}

const goldenLock = `{
	"arch": "amd64",
	"suite": "trixie",
	"sources": [
		{
			"uri": "http://m.example/debian",
			"suite": "trixie",
			"components": [
				"main"
			],
			"signedBy": "/usr/share/keyrings/debian-archive-keyring.gpg"
		}
	],
	"packages": [
		{
			"name": "dash",
			"version": "0.5-1",
			"arch": "amd64",
			"source": 0,
			"path": "pool/dash.deb",
			"size": 7,
			"sha256": "ab",
			"essential": true
		},
		{
			"name": "tzdata",
			"version": "2025",
			"arch": "all",
			"source": 0,
			"path": "pool/tzdata.deb",
			"size": 8,
			"sha256": "cd",
			"auto": true
		}
	],
	"debconf": [
		"a b string c"
	],
	"mergeUsr": true,
	"configure": true,
	"epoch": "2023-11-14T22:13:20Z",
	"date": "2025-06-15T15:06:40Z"
}`

func TestLockJSON(t *testing.T) {
	data, err := json.MarshalIndent(newLock(), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenLock, string(data)); diff != "" {
		t.Error(diff)
	}
	path := filepath.Join(t.TempDir(), layerLock)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := readLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(newLock(), got); diff != "" {
		t.Errorf("read back:\n%s", diff)
	}
}

func TestReadLockErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), layerLock)
	_, err := readLock(path)
	if want := "read layer: open " + path + ": no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = readLock(path)
	if want := "read layer: " + path + ": unexpected end of JSON input"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestLockKey changes each value in a lock, of fields that are yet to come too.
func TestLockKey(t *testing.T) {
	key := func(l *Lock, idMap string) string {
		t.Helper()
		k, err := l.key(idMap)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	want := key(newLock(), "0 0 1")
	if again := key(newLock(), "0 0 1"); again != want || len(want) != 64 {
		t.Errorf("equal locks have keys %s and %s", want, again)
	}
	if key(newLock(), "0 1000 1") == want {
		t.Error("the mapping of ids is no part of the key")
	}
	for _, name := range leaves(reflect.ValueOf(newLock()).Elem(), "") {
		l := newLock()
		alter(t, reflect.ValueOf(l).Elem(), name)
		if same := key(l, "0 0 1") == want; same != (name == ".Date" || name == ".Base" || strings.HasPrefix(name, ".TLS.")) {
			t.Errorf("%s was changed; the key is the same: %t", name, same)
		}
	}
	reordered := newLock()
	reordered.Packages[0], reordered.Packages[1] = reordered.Packages[1], reordered.Packages[0]
	if key(reordered, "0 0 1") == want {
		t.Error("the order of packages is no part of the key")
	}
}

// leaves names all values below v that are neither structs of this package nor slices: ".Packages[0].Name".
func leaves(v reflect.Value, name string) []string {
	var names []string
	switch {
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for i := range v.NumField() {
			names = append(names, leaves(v.Field(i), name+"."+v.Type().Field(i).Name)...)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			names = append(names, leaves(v.Index(i), fmt.Sprintf("%s[%d]", name, i))...)
		}
	default:
		names = append(names, name)
	}
	return names
}

// alter changes the value with that name.
func alter(t *testing.T, v reflect.Value, name string) {
	t.Helper()
	for part := range strings.SplitSeq(strings.ReplaceAll(name[1:], "[", ".["), ".") {
		var index int
		if n, _ := fmt.Sscanf(part, "[%d]", &index); n == 1 {
			v = v.Index(index)
		} else {
			v = v.FieldByName(part)
		}
	}
	switch value := v.Addr().Interface().(type) {
	case *string:
		*value += "x"
	case *bool:
		*value = !*value
	case *int:
		*value++
	case *int64:
		*value++
	case *time.Time:
		*value = value.Add(time.Second)
	case **Lock:
		*value = newLock()
	default:
		t.Fatalf("%s has a type that this test does not know: %s", name, v.Type())
	}
}

func TestClamp(t *testing.T) {
	l := newLock()
	if got := l.clamp(); !got.Equal(l.Epoch) {
		t.Errorf("with an epoch: %s", got)
	}
	l.Epoch = time.Time{}
	if got := l.clamp(); !got.Equal(l.Date) {
		t.Errorf("without one: %s", got)
	}
}
