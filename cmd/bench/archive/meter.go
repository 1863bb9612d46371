package archive

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// Traffic is what came over the network.
type Traffic struct {
	Requests int
	Bytes    int64         // of the answers' bodies
	Busy     time.Duration // in which at least one answer was being waited for or received
}

// Meter is an http.RoundTripper that adds up the traffic. Time in which several answers are on their way counts once.
type Meter struct {
	Next http.RoundTripper // http.DefaultTransport if nil

	mu      sync.Mutex
	total   Traffic
	open    int       // answers on their way
	started time.Time // when the first of them was asked for
}

// Take returns the traffic since it was last called.
func (m *Meter) Take() Traffic {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	t := m.total
	if m.open > 0 {
		t.Busy += now.Sub(m.started)
		m.started = now
	}
	m.total = Traffic{}
	return t
}

// RoundTrip implements http.RoundTripper. An answer is on its way until its body has ended or is closed.
func (m *Meter) RoundTrip(r *http.Request) (*http.Response, error) {
	m.begin()
	next := m.Next
	if next == nil {
		next = http.DefaultTransport
	}
	answer, err := next.RoundTrip(r)
	if err != nil {
		m.end()
		return nil, err
	}
	answer.Body = &meteredBody{ReadCloser: answer.Body, meter: m}
	return answer, nil
}

func (m *Meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open == 0 {
		m.started = time.Now()
	}
	m.open++
	m.total.Requests++
}

func (m *Meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open--; m.open == 0 {
		m.total.Busy += time.Since(m.started)
	}
}

func (m *Meter) received(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total.Bytes += int64(n)
}

type meteredBody struct {
	io.ReadCloser
	meter *Meter
	once  sync.Once
}

func (b *meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.meter.received(n)
	if err != nil {
		b.once.Do(b.meter.end)
	}
	return n, err
}

func (b *meteredBody) Close() error {
	b.once.Do(b.meter.end)
	return b.ReadCloser.Close()
}
