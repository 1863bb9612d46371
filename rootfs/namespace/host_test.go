package namespace

import (
	"errors"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/user"
)

const allCapabilities = "CapEff:\t000001ffffffffff\nNoNewPrivs:\t0\n"

// ordinary is a host where user 1001 can build.
func ordinary() host {
	return host{
		uid: 1001, gid: 1002, user: "ann",
		status: "CapEff:\t0000000000000000\nNoNewPrivs:\t0\n",
		uidMap: "         0          0 4294967295\n",
		gidMap: "         0          0 4294967295\n",
		subUID: "ann:100000:65536\n",
		subGID: "ann:100000:65536\n",
		sysctl: map[string]string{"user.max_user_namespaces": "127012", "kernel.unprivileged_userns_clone": "1"},
		helpers: map[string]helper{
			"newuidmap": usable,
			"newgidmap": usable,
		},
	}
}

// root is a host where real root calls, without the means of an ordinary user.
func root() host {
	h := ordinary()
	h.uid, h.gid, h.user, h.status = 0, 0, "root", allCapabilities
	h.subUID, h.subGID, h.helpers = "", "", nil
	return h
}

func TestProblems(t *testing.T) {
	tests := []struct {
		name string
		host func() host
		want []string
	}{
		{"ordinary user", ordinary, nil},
		{"root", root, nil},
		{"root with namespaces switched off", func() host {
			h := root()
			h.sysctl["user.max_user_namespaces"] = "0"
			return h
		}, nil},
		{"everything at once", func() host {
			h := ordinary()
			h.sysctl = map[string]string{
				"user.max_user_namespaces":                     "0",
				"kernel.unprivileged_userns_clone":             "0",
				"kernel.apparmor_restrict_unprivileged_userns": "1",
			}
			h.label = "unconfined"
			h.status = "NoNewPrivs:\t1\n"
			h.helpers = map[string]helper{"newgidmap": powerless}
			h.subUID = "bob:100000:65536\neve:165536:65536\nann:500000:1000\n"
			h.subGID = ""
			return h
		}, []string{
			"user namespaces are switched off (user.max_user_namespaces is 0): as root, run: sysctl -w user.max_user_namespaces=65536",
			"user namespaces are switched off (kernel.unprivileged_userns_clone is 0): as root, run: sysctl -w kernel.unprivileged_userns_clone=1",
			"user namespaces are switched off (kernel.apparmor_restrict_unprivileged_userns is 1): as root, run: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
			"newuidmap is not installed, an ordinary user's build needs it: install package uidmap",
			"newgidmap may not write mappings: it has no setuid bit, or its file system is mounted nosuid: reinstall package uidmap",
			"this process may not gain privileges (no_new_privs), so newuidmap cannot write mappings: start vmbuild from a shell that is not confined so",
			`/etc/subuid gives user ann 1000 subordinate ids, a build needs 65534: add the line "ann:231072:65536" to it (newuidmap and newgidmap, which read it, are in package uidmap)`,
			`/etc/subgid gives user ann 0 subordinate ids, a build needs 65534: add the line "ann:231072:65536" to it (newuidmap and newgidmap, which read it, are in package uidmap)`,
		}},
		{"AppArmor profile", func() host {
			h := ordinary()
			h.sysctl["kernel.apparmor_restrict_unprivileged_userns"] = "1"
			h.label = "vmbuild (unconfined)"
			return h
		}, nil},
		{"user without a name", func() host {
			h := ordinary()
			h.user = ""
			h.subUID = "1001:200000:65536\n"
			h.subGID = ":100000:65536\n"
			return h
		}, []string{
			`/etc/subgid gives user 1001 0 subordinate ids, a build needs 65534: add the line "1001:296608:65536" to it (newuidmap and newgidmap, which read it, are in package uidmap)`,
		}},
		{"root of a small user namespace", func() host {
			h := root()
			h.uidMap, h.gidMap = "0 1001 1\n", "0 1001 1\n1 100000 65535\n"
			return h
		}, []string{
			"root of this user namespace has 1 user ids, a build needs 65535: start vmbuild outside of it, or make it with more ids (unshare --map-root-user --map-auto)",
		}},
		{"root who wants a user namespace", func() host {
			h := root()
			h.ownUsers = true
			h.sysctl["user.max_user_namespaces"] = "0"
			h.sysctl["kernel.unprivileged_userns_clone"] = "0"
			return h
		}, []string{
			"user namespaces are switched off (user.max_user_namespaces is 0): as root, run: sysctl -w user.max_user_namespaces=65536",
		}},
		{"root without CAP_SYS_ADMIN", func() host {
			h := root()
			h.status = "CapEff:\t00000000a80425fb\n"
			h.sysctl["user.max_user_namespaces"] = "0"
			return h
		}, []string{
			"user namespaces are switched off (user.max_user_namespaces is 0): as root, run: sysctl -w user.max_user_namespaces=65536",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, err := range test.host().problems() {
				got = append(got, err.Error())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMissingIDsErrorIsFound(t *testing.T) {
	h := ordinary()
	h.subGID = "ann:100000:65533\n"
	var missing *MissingIDsError
	if err := errors.Join(h.problems()...); !errors.As(err, &missing) {
		t.Fatalf("got %v", err)
	}
	want := MissingIDsError{File: "/etc/subgid", User: "ann", Have: 65533, Line: "ann:165536:65536"}
	if *missing != want {
		t.Errorf("got %+v, want %+v", *missing, want)
	}
}

func TestMapping(t *testing.T) {
	tests := []struct {
		name string
		host func() host
		want mapping
	}{
		{"ordinary user", ordinary, mapping{
			subordinate,
			[]user.IDMap{{ID: 0, ParentID: 1001, Count: 1}, {ID: 1, ParentID: 100000, Count: 65536}},
			[]user.IDMap{{ID: 0, ParentID: 1002, Count: 1}, {ID: 1, ParentID: 100000, Count: 65536}},
		}},
		{"several ranges, by name and by number, one twice, one with the own id", func() host {
			h := ordinary()
			h.subUID = "# comment\nann:300000:1000\nbob:400000:5\n1001:500000:65000\n1001:300500:3\nann:1000:10\nann:junk:1\n"
			return h
		}, mapping{
			subordinate,
			[]user.IDMap{{ID: 0, ParentID: 1001, Count: 1}, {ID: 1, ParentID: 300000, Count: 1000}, {ID: 1001, ParentID: 500000, Count: 65000}},
			[]user.IDMap{{ID: 0, ParentID: 1002, Count: 1}, {ID: 1, ParentID: 100000, Count: 65536}},
		}},
		{"root", root, mapping{caller: direct}},
		{"root who wants a user namespace", func() host {
			h := root()
			h.ownUsers = true
			return h
		}, mapping{
			identity,
			[]user.IDMap{{ID: 0, ParentID: 0, Count: 4294967295}},
			[]user.IDMap{{ID: 0, ParentID: 0, Count: 4294967295}},
		}},
		{"root without CAP_SYS_ADMIN in a container", func() host {
			h := root()
			h.status = "CapEff:\t00000000a80425fb\n"
			h.uidMap = "0 1001 1\n1 100000 65536\n"
			return h
		}, mapping{
			identity,
			[]user.IDMap{{ID: 0, ParentID: 0, Count: 1}, {ID: 1, ParentID: 1, Count: 65536}},
			[]user.IDMap{{ID: 0, ParentID: 0, Count: 4294967295}},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.host().mapping(), cmp.AllowUnexported(mapping{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCoverage(t *testing.T) {
	tests := map[string]int64{
		"":                           0,
		"0 0 4294967295":             4294967295,
		"1 100000 65536":             0,
		"0 1001 1\n1 100000 65536":   65537,
		"1 100000 65536\n0 1001 1":   65537,
		"0 1001 1\n2 100000 65536":   1,
		"0 1 10\n5 50 10\n20 200 10": 15,
	}
	got := make(map[string]int64)
	for text := range tests {
		got[text] = coverage(parseMap(text))
	}
	if diff := cmp.Diff(tests, got); diff != "" {
		t.Error(diff)
	}
}

// FuzzSubIDs: whatever is in the files, a mapping is one that the kernel accepts, and a suggested line is enough.
func FuzzSubIDs(f *testing.F) {
	f.Add("ann:100000:65536\n")
	f.Add("1001:1:4294967294\nann:5:5\n\n:::\nann:-5:10\nann:4294967295:1")
	f.Add("ann:100000:9223372036854775807\n")
	f.Add("bob:1:4294967294\n")
	f.Fuzz(func(t *testing.T, text string) {
		h := ordinary()
		h.subUID = text
		ids := h.mapping().uids
		for i, a := range ids {
			for _, b := range ids[:i] {
				if overlap(a.ID, a.Count, b.ID, b.Count) || overlap(a.ParentID, a.Count, b.ParentID, b.Count) {
					t.Fatalf("%+v overlaps %+v", a, b)
				}
			}
		}
		var missing *MissingIDsError
		if !errors.As(errors.Join(h.subIDProblems()...), &missing) {
			return
		}
		h.subUID = missing.Line + "\n" + text
		if err := errors.Join(h.subIDProblems()...); err != nil {
			t.Fatalf("with the line %q: %v", missing.Line, err)
		}
	})
}

func TestReadHost(t *testing.T) {
	h := readHost()
	if h.statusField("CapEff") == "" || coverage(parseMap(h.uidMap)) == 0 {
		t.Errorf("facts are missing: %+v", h)
	}
	for name := range maps.Keys(h.sysctl) {
		if h.sysctl[name] == "" {
			t.Errorf("%s is empty", name)
		}
	}
}
