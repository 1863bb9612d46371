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
