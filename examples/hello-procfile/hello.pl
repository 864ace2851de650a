#!/usr/bin/perl
# Says hello without anything to build: the Procfile names the program, and perl is part of every Debian system.

use strict;
use warnings;

use IO::Socket::INET;

my $port   = $ENV{PORT} || 5000;
my $server = IO::Socket::INET->new(LocalPort => $port, Listen => 64, ReuseAddr => 1)
    or die "Port $port cannot be bound: $@\n";
$| = 1;
print "Listening on port $port\n";
while (my $client = $server->accept) {
    # A request without a body ends with an empty line.
    while (defined(my $line = <$client>)) { last if $line =~ /\A\r?\n\z/ }
    my $body = "<h1>Hello, world, from a Procfile</h1>\n";
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n",
        'Content-Length: ', length $body, "\r\n\r\n", $body;
    close $client;
}
