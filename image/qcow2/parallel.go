package qcow2

import (
	"context"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// waiting is how many chunks may be ready, beside those at work, before the one that comes before them is.
const waiting = 2

// turn is a chunk's place in the order of all chunks.
type turn struct {
	mine <-chan struct{} // closed when the chunk's turn has come
	next chan<- struct{}
}

// wait returns when all chunks before this one have passed, or ctx has ended.
func (t turn) wait(ctx context.Context) error {
	select {
	case <-t.mine:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turn) pass() { close(t.next) }

// forChunks calls work for each chunk of a disk that may hold data, on all processors. Each call has a worker of its own
// while it lasts. A call must pass its turn unless it fails.
func forChunks[W any](ctx context.Context, d Disk, worker func() W, work func(context.Context, W, chunk, turn) error) error {
	group, ctx := errgroup.WithContext(ctx)
	limit := runtime.GOMAXPROCS(0) + waiting
	idle, made := make(chan W, limit), 0
	mine := make(chan struct{})
	close(mine)
	for c, err := range chunks(ctx, d) {
		if err != nil {
			group.Go(func() error { return err })
			break
		}
		if len(idle) == 0 && made < limit {
			idle <- worker()
			made++
		}
		w, next := <-idle, make(chan struct{})
		t := turn{mine, next}
		group.Go(func() error {
			defer func() { idle <- w }()
			return work(ctx, w, c, t)
		})
		mine = next
	}
	return group.Wait()
}
