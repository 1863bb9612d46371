// Package output is the table of the formats a tree is written in, and the one place where a finished build becomes
// visible. Choose decides the format from the words and facts of a target, Open takes hold of the target, Format.Write
// fills it, and Commit makes it appear: a file or directory that was not there has no name, or a hidden one, until it is
// complete, so neither a failure nor a SIGKILL leaves half of it behind. What cannot be taken back, a stream or a
// directory that was there, is written as late as can be.
//
// Choose, Open and Commit are for the outer half of a job, Write for the inner one, which alone may make files of any
// owner. The same tree gives the same bytes on every host. It makes no disk images: package image does.
package output
