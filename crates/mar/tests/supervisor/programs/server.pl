# A web server that answers every request with the words it was started with.
# usage: server.pl ADDRESS WORDS...   where ADDRESS is 127.0.0.1, 0.0.0.0, ::1 or ::
use strict;
use warnings;
use IO::Handle;
use Socket qw(:all);
$| = 1;

my ($address, @words) = @ARGV;
my $v6 = $address =~ /:/;
my $family = $v6 ? AF_INET6 : AF_INET;
socket(my $server, $family, SOCK_STREAM, 0) or die "socket: $!";
setsockopt($server, SOL_SOCKET, SO_REUSEADDR, pack("l", 1)) or die "setsockopt: $!";
setsockopt($server, IPPROTO_IPV6, IPV6_V6ONLY, pack("l", 1)) if $v6;
my $packed = inet_pton($family, $address);
my $name = $v6 ? pack_sockaddr_in6($ENV{PORT}, $packed) : pack_sockaddr_in($ENV{PORT}, $packed);
bind($server, $name) or die "bind: $!";
$SIG{CHLD} = "IGNORE";
listen($server, 128) or die "listen: $!";
print "listening on $address\n";

while (accept(my $client, $server)) {
    my $path = "";
    while (defined(my $line = <$client>)) {
        $path = $1 if $line =~ /^GET (\S+)/;
        last if $line =~ /^\r?\n$/;
    }
    next if $path eq "";
    if ($path eq "/die") { exit 3 }
    if ($path eq "/socket") {
        # Any protocol will do: this one sends every line back.
        next if fork;
        $client->autoflush(1);
        print $client "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        while (defined(my $line = <$client>)) { print $client "@words: $line" }
        exit;
    }
    if ($path eq "/slow") { select(undef, undef, undef, 0.1) }
    my $body = "@words";
    print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    close $client;
}
