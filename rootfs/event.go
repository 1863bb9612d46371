package rootfs

// Event tells how far a build is. It carries progress of a stage, or a line that a program of the build printed, or what has
// become of a layer; the zero Event says that the last stage has ended and no other follows.
type Event struct {
	Stage string `json:"stage,omitempty"` // one word, the same in the code, the progress display and the manual
	Done  int64  `json:"done,omitempty"`
	Total int64  `json:"total,omitempty"` // 0: not countable
	Unit  string `json:"unit,omitempty"`  // Bytes, or what is counted, in the plural
	Line  string `json:"line,omitempty"`

	Layer *LayerUse `json:"layer,omitempty"`
}

// Bytes is the unit of events that count bytes.
const Bytes = "B"
