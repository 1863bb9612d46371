package rootfs

import (
	"os"
	"testing"

	"vmbuild/rootfs/namespace"
)

// TestMain is also the inner side of tests that make trees, and the outer one of those that another user makes.
func TestMain(m *testing.M) {
	switch {
	case namespace.Inner():
		os.Exit(namespace.Serve(map[string]namespace.Handler{
			"emulate": emulateInside, "foreign": foreignInside, "second": secondStageInside, "number": numberInside,
		}))
	case os.Args[0] == emulateWord:
		os.Exit(outsideEmulation())
	default:
		os.Exit(m.Run())
	}
}
