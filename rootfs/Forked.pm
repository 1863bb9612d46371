# perl -I DIR -MForked=DIR PROGRAM: compiles a program once, and runs it, in a process of its own, for each shell that asks.
#
# The shell makes a FIFO in DIR whose name is its process id, writes that to the FIFO "requests", and reads the exit status, or "no"
# if it is to run the program itself. The program gets the shell's arguments, environment, working directory, umask and standard
# descriptors.
package Forked;

use strict;
use warnings;
use POSIX ();

my ($dir, $script);

sub import {
	$dir = $_[1];
	$script = $dir =~ s/\.forked$//r; # of the shells
	shift @INC;
}

# INIT blocks run when the program is compiled, before it runs.
INIT {
	serve();
	$^T = time; # as if it began now
}

# serve returns in a process that is to run the program.
sub serve {
	eval { require Data::Dumper }; # which a program may ask for only as it runs
	POSIX::mkfifo("$dir/new", 0600) or die "$dir/new: $!\n";
	open(my $requests, '+<', "$dir/new") or die "$dir/new: $!\n"; # both ends, so that it has no end
	rename("$dir/new", "$dir/requests") or die "$dir/requests: $!\n";
	$SIG{CHLD} = 'IGNORE'; # nobody waits for those who answer
	while (defined(my $client = readline($requests))) {
		chomp $client;
		my $pid = fork;
		if (!defined $pid) {
			answer($client, 'no');
		} elsif ($pid == 0) {
			close $requests;
			return if run($client);
		}
	}
	POSIX::_exit(1);
}

# run returns in the process that is to run the program for a client.
sub run {
	my ($client) = @_;
	$SIG{CHLD} = 'DEFAULT';
	if (!eval { become($client); 1 }) {
		answer($client, 'no');
		POSIX::_exit(0);
	}
	my $pid = fork;
	return 1 if defined $pid && $pid == 0;
	my $status = 'no';
	if (defined $pid) {
		waitpid($pid, 0);
		$status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
	}
	answer($client, $status);
	POSIX::_exit(0);
}

# become takes over what a client has.
sub become {
	my ($client) = @_;
	my $proc = "/proc/$client";
	for my $fd (0 .. 2) { # what is opened once more is the same for these only
		-p "$proc/fd/$fd" || -c _ or die;
	}
	my @arguments = words("$proc/cmdline");
	while (@arguments ? shift @arguments ne $script : die) { } # the shell, and an emulator's words before it
	my %environment = map { split /=/, $_, 2 } words("$proc/environ");
	my ($umask) = slurp("$proc/status") =~ /^Umask:\s*([0-7]+)$/m or die;
	chdir "$proc/cwd" or die;
	open(STDIN, '<', "$proc/fd/0") or die;
	open(STDOUT, '>', "$proc/fd/1") or die;
	open(STDERR, '>', "$proc/fd/2") or die;
	umask oct $umask;
	@ARGV = @arguments;
	%ENV = %environment;
}

# words are the parts of a file each of which ends with a NUL.
sub words {
	my @words = split /\0/, slurp($_[0]), -1;
	pop @words;
	return @words;
}

sub slurp {
	open(my $file, '<', $_[0]) or die;
	local $/;
	return scalar readline($file);
}

# answer ends a client's waiting. Nobody else is to find its FIFO.
sub answer {
	my ($client, $status) = @_;
	open(my $fifo, '>', "$dir/$client") or return;
	unlink "$dir/$client";
	print $fifo "$status\n";
	close $fifo;
}

1;
