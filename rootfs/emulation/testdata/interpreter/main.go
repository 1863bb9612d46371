// Interpreter is what tests of package emulation register in place of an emulator. It prints how it was started, or fails
// if the program's name says so.
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	fmt.Print(strings.Join(os.Args[1:], " "), " ", os.Geteuid())
}
