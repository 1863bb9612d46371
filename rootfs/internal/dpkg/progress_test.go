package dpkg

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmbuild/rootfs/chroot"
	"vmbuild/rootfs/span"
)

// recorded says what is recorded: the spans' names as they begin and end.
func recorded(do func(context.Context)) []string {
	var said []string
	names := map[int64]string{}
	do(span.Send(context.Background(), func(r span.Record) {
		if r.Kind != "" {
			names[r.ID] = string(r.Kind) + " " + r.Name
			said = append(said, names[r.ID])
			return
		}
		said = append(said, "end of "+names[r.ID])
	}))
	return said
}

// configured is what dpkg 1.21.22 writes for "--configure --pending" with a package that q's trigger waits for; bash was put
// off.
const configured = `processing: configure: bash
processing: configure: p
status: p: unpacked
status: p: half-configured
status: p: installed
processing: trigproc: q
status: q: half-configured
status: q: installed
`

func TestRecordWork(t *testing.T) {
	both := []string{"step configure p", "end of step configure p", "step triggers q", "end of step triggers q"}
	for name, c := range map[string]struct {
		status string
		want   []string
	}{
		"nothing":     {"", nil},
		"two":         {configured, both},
		"cut off":     {configured[:len(configured)-10], both},
		"other words": {"pmstatus: x: 10:y\n\nstatus: p: installed\nprocessing\n" + configured, both},
	} {
		t.Run(name, func(t *testing.T) {
			got := recorded(func(ctx context.Context) { recordWork(ctx, strings.NewReader(c.status)) })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzRecordWork: whatever comes, what begins ends.
func FuzzRecordWork(f *testing.F) {
	f.Add(configured)
	f.Add("processing: : \nstatus: ")
	f.Fuzz(func(t *testing.T, status string) {
		begun, ended := 0, 0
		for _, said := range recorded(func(ctx context.Context) { recordWork(ctx, strings.NewReader(status)) }) {
			if strings.HasPrefix(said, "end of ") {
				ended++
			} else {
				begun++
			}
		}
		if begun != ended {
			t.Errorf("%d spans begin, %d end", begun, ended)
		}
	})
}

// speaker is a root whose dpkg says what it does, if it is asked for that.
type speaker struct {
	args []string
	err  error
}

func (s *speaker) Run(_ context.Context, c chroot.Command) error {
	s.args = c.Args
	for _, f := range c.Files {
		if _, err := io.WriteString(f, configured); err != nil {
			return err
		}
	}
	return s.err
}

// TestRecordedDpkg has dpkg say what it does only where somebody wants to know.
func TestRecordedDpkg(t *testing.T) {
	quiet := &speaker{}
	if err := (scripts{runner: quiet}).configurePending(context.Background()); err != nil {
		t.Error(err)
	}
	spoken := &speaker{err: errors.New("broken")}
	var err error
	said := recorded(func(ctx context.Context) { err = scripts{runner: spoken}.configurePending(ctx) })
	got := map[string]any{
		"quiet": strings.Join(quiet.args, " "), "spoken": strings.Join(spoken.args, " "), "said": said, "error": err.Error(),
	}
	want := map[string]any{
		"quiet":  "dpkg --force-unsafe-io --configure --pending",
		"spoken": "dpkg --status-fd 3 --force-unsafe-io --configure --pending",
		"said": []string{
			"stage configure", "step configure p", "end of step configure p", "step triggers q", "end of step triggers q",
			"end of stage configure",
		},
		"error": "dpkg --force-unsafe-io --configure --pending: broken",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
