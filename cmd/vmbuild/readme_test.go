package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmbuild/bootloader"
	"vmbuild/image/machine"
	"vmbuild/rootfs/arch"
)

// TestReadmeHasTheTables: the README's rows are those of the tables.
func TestReadmeHasTheTables(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := []string{fmt.Sprintf("--board=list names %d boards\n", len(bootloader.Boards()))}
	for _, a := range arch.All() {
		var firmware []string
		for _, f := range machine.FirmwaresOf(a) {
			firmware = append(firmware, string(f))
		}
		rows = append(rows, fmt.Sprintf("\n| %s | %s | %s | %s | %s | %s |\n", a.Name, a.Kernel, a.Table, a.Loader, a.Console,
			strings.Join(firmware, ", ")))
	}
	for _, name := range bootloader.Names() {
		rows = append(rows, "\n| "+name+" | ")
	}
	for _, row := range rows {
		if !strings.Contains(string(text), row) {
			t.Errorf("README.md has no %s", strings.TrimSpace(row))
		}
	}
}
