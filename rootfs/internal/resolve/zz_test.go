package resolve

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vmbuild/rootfs/internal/control"
)

func TestZZ(t *testing.T) {
	data, err := os.ReadFile("/tmp/s/A/idx/" + os.Getenv("SUITE"))
	if err != nil {
		t.Skip(err)
	}
	packages, err := control.ParseIndex(data)
	if err != nil {
		t.Fatal(err)
	}
	u := NewUniverse("amd64", []Archive{{Packages: packages}})
	r := Request{Packages: strings.Fields(os.Getenv("REQ")), Recommends: os.Getenv("REC") != ""}
	s, err := newSolver(u, r)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := s.requested(r)
	if err != nil {
		t.Fatal(err)
	}
	initial := slices.Clone(s.states)
	start := time.Now()
	ok := s.greedy(roots)
	t.Log("greedy", ok, time.Since(start))
	for _, st := range s.states {
		if st.chosen != nil {
			if d, broken := s.broken(st.chosen); broken {
				t.Log("broken", st.chosen.Name, d.kind, d.group)
			}
		}
	}
	for _, root := range roots {
		if st := s.states[root.id]; st.why != nil {
			t.Log(s.chain(root, st.why, nil))
		}
	}
	if !ok {
		start := time.Now()
		err := s.complete(roots, initial)
		t.Log(err, time.Since(start))
	}
	if os.Getenv("OUT") != "" {
		c := s.choices(roots)
		os.WriteFile(os.Getenv("OUT"), []byte(strings.Join(names(c), "\n")+"\n"), 0o644)
	}
}

func TestZRanks(t *testing.T) {
	for _, suite := range []string{"trixie", "bookworm", "bullseye", "forky", "sid"} {
		data, _ := os.ReadFile("/tmp/s/A/idx/" + suite)
		packages, err := control.ParseIndex(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range []bool{false, true} {
			for _, req := range []string{"", "linux-image-amd64 grub-pc", "linux-image-amd64 grub-efi-amd64 openssh-server", "build-essential", "podman", "xfce4", "gnome", "task-gnome-desktop"} {
				u := NewUniverse("amd64", []Archive{{Packages: packages}})
				real, multi := 0, 0
				for _, n := range u.ordered {
					if len(n.slots) > 0 {
						real++
					}
					if len(n.providers)+len(n.slots) > 1 {
						multi++
					}
				}
				start := time.Now()
				_, err := u.Resolve(Request{Packages: strings.Fields(req), Essential: true, Priorities: []string{"required", "important"}, Recommends: rec})
				t.Log(suite, rec, req, "ranked", u.ordered[0].rank != 0, time.Since(start), len(u.ordered), real, multi, err)
			}
		}
	}
}

func TestZSets(t *testing.T) {
	for _, suite := range []string{"trixie", "bookworm", "bullseye", "forky", "sid"} {
		data, _ := os.ReadFile("/tmp/s/A/idx/" + suite)
		packages, err := control.ParseIndex(data)
		if err != nil {
			t.Fatal(err)
		}
		u := NewUniverse("amd64", []Archive{{Packages: packages}})
		e, err := u.Resolve(Request{Essential: true})
		if err != nil {
			t.Fatal(err)
		}
		var counts []int
		for _, r := range []Request{{Packages: []string{"apt"}}, {Packages: []string{"apt"}, Priorities: []string{"required"}}, {Packages: []string{"apt", "build-essential"}},
			{Packages: []string{"apt"}, Priorities: []string{"required", "important"}}, {Packages: []string{"apt"}, Priorities: []string{"required", "important", "standard"}}} {
			r.Installed = e
			c, err := u.Resolve(r)
			if err != nil {
				t.Fatal(err)
			}
			counts = append(counts, len(e)+len(c))
		}
		t.Log(suite, len(e), counts)
	}
}
