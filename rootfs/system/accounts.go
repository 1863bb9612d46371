package system

import "slices"

// standardAccounts are those that every system has before the first user: base-passwd's passwd.master, with apt's own, and
// gnats, which ended with bookworm.
var standardAccounts = []string{
	"root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy", "www-data", "backup", "list",
	"irc", "gnats", "nobody", "_apt",
}

// IsStandardAccount says whether every Debian system has an account of that name, which so is none that can be added.
func IsStandardAccount(name string) bool { return slices.Contains(standardAccounts, name) }
