#!/usr/bin/perl
# Serves a folder of files over HTTP/1.1 on $PORT, with nothing but what every Debian system has (perl-base).
#
# One process and one loop: a connection is a buffer of what arrived and a queue of what is to be sent, and no reader
# can hold up another. What it never does: leave the folder, list a folder, show a file whose name begins with a dot.
#
# static.json, if there is one, may hold: root (the folder), clean_urls (true: /about is about.html), error_page
# (a file for 404) and routes, of which "/**" names the file that answers whatever is not there (single page apps).

use strict;
use warnings;

use Cwd qw(realpath);
use Errno qw(EAGAIN EINTR EWOULDBLOCK);
use Fcntl qw(F_GETFL F_SETFL O_NONBLOCK O_RDONLY S_ISREG S_ISDIR);
use IO::Select;
use POSIX qw(strftime);
use Socket qw(AF_INET SOCK_STREAM SOL_SOCKET SO_REUSEADDR SOMAXCONN INADDR_ANY IPPROTO_TCP TCP_NODELAY pack_sockaddr_in);

use constant HEAD_MAX        => 16 * 1024;
use constant CONNECTIONS_MAX => 900;
use constant IDLE_SECONDS    => 75;
use constant PIECE           => 64 * 1024;

my %TYPES = (
    avif => 'image/avif',  bmp  => 'image/bmp',  css  => 'text/css; charset=utf-8', csv => 'text/csv; charset=utf-8',
    gif  => 'image/gif',   gz   => 'application/gzip',         htm  => 'text/html; charset=utf-8',
    html => 'text/html; charset=utf-8', ico => 'image/x-icon', jpeg => 'image/jpeg', jpg => 'image/jpeg',
    js   => 'text/javascript; charset=utf-8', json => 'application/json', map => 'application/json',
    md   => 'text/markdown; charset=utf-8',   mjs => 'text/javascript; charset=utf-8',
    mp3  => 'audio/mpeg',  mp4  => 'video/mp4',  ogg  => 'audio/ogg',  otf => 'font/otf', pdf => 'application/pdf',
    png  => 'image/png',   svg  => 'image/svg+xml', ttf => 'font/ttf', txt => 'text/plain; charset=utf-8',
    wasm => 'application/wasm', wav => 'audio/wav', webm => 'video/webm', webmanifest => 'application/manifest+json',
    webp => 'image/webp',  woff => 'font/woff',  woff2 => 'font/woff2', xml => 'application/xml',
    zip  => 'application/zip',
);

my %REASONS = (
    200 => 'OK', 206 => 'Partial Content', 301 => 'Moved Permanently', 304 => 'Not Modified', 400 => 'Bad Request',
    404 => 'Not Found', 405 => 'Method Not Allowed', 416 => 'Range Not Satisfiable',
    431 => 'Request Header Fields Too Large', 500 => 'Internal Server Error',
);

my $settings = read_settings('static.json');
my $folder   = choose_folder($settings);
if (@ARGV && $ARGV[0] eq '--root') {
    print "$folder\n";
    exit 0;
}
my $root = realpath($folder);
die "The folder $folder is not there.\n" unless defined $root && -d $root;
serve($ENV{PORT} || 5000);

# ---- settings -------------------------------------------------------------------------------------------------------

sub read_settings {
    my ($path) = @_;
    open my $file, '<', $path or return {};
    local $/;
    my $text     = <$file>;
    my $settings = eval { my $value = json_value(\$text); $text =~ /\G\s*\z/gc or die "text after the end"; $value };
    die "static.json cannot be read as JSON: $@" if $@;
    die "static.json must hold a JSON object.\n" unless ref $settings eq 'HASH';
    return $settings;
}

# A small reader of JSON: the module for it is not part of every Debian system.
sub json_value {
    my ($text) = @_;
    $$text =~ /\G\s+/gc;
    if ($$text =~ /\G\{\s*/gc) {
        my %object;
        until ($$text =~ /\G\s*\}/gc) {
            if (%object) { $$text =~ /\G\s*,/gc or die "a comma is missing\n"; }
            $$text =~ /\G\s+/gc;
            my $name = json_string($text);
            $$text =~ /\G\s*:/gc or die "a colon is missing\n";
            $object{$name} = json_value($text);
        }
        return \%object;
    }
    if ($$text =~ /\G\[\s*/gc) {
        my @list;
        until ($$text =~ /\G\s*\]/gc) {
            if (@list) { $$text =~ /\G\s*,/gc or die "a comma is missing\n"; }
            push @list, json_value($text);
        }
        return \@list;
    }
    return json_string($text) if $$text =~ /\G(?=")/gc;
    return 1     if $$text =~ /\Gtrue\b/gc;
    return 0     if $$text =~ /\Gfalse\b/gc;
    return undef if $$text =~ /\Gnull\b/gc;
    return $1    if $$text =~ /\G(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)/gc;
    die "a value is missing\n";
}

sub json_string {
    my ($text) = @_;
    $$text =~ /\G"((?:[^"\\]|\\.)*)"/gcs or die "a string is missing\n";
    my $string = $1;
    my %plain  = (n => "\n", t => "\t", r => "\r", b => "\b", f => "\f");
    $string =~ s/\\(?:u([0-9a-fA-F]{4})|(.))/defined $1 ? utf8_of(hex $1) : exists $plain{$2} ? $plain{$2} : $2/ges;
    return $string;
}

sub utf8_of {
    my $character = chr shift;
    utf8::encode($character);
    return $character;
}

sub choose_folder {
    my ($settings) = @_;
    my $root = $settings->{root};
    if (defined $root && !ref $root && $root ne '') {
        $root =~ s{^/+}{};
        $root =~ s{/+$}{};
        die "root in static.json leads out of the project.\n" if grep { $_ eq '..' } split m{/}, $root;
        return $root eq '' ? '.' : $root;
    }
    return -e 'index.html' || !-d 'public' ? '.' : 'public';
}

# ---- the loop -------------------------------------------------------------------------------------------------------

my (%connections, $listener, $readers, $writers, $stopping);

sub serve {
    my ($port) = @_;
    $listener = listen_on($port);
    $readers = IO::Select->new($listener);
    $writers = IO::Select->new;
    $SIG{PIPE} = 'IGNORE';
    $SIG{TERM} = $SIG{INT} = sub { $stopping ||= time };
    $| = 1;
    print "Static site listening on port $port\n";
    while (1) {
        if ($stopping) {
            if (defined fileno $listener) {
                $readers->remove($listener);
                close $listener;
            }
            close_connection($_) for grep { !busy($_) } values %connections;
            last if !%connections || time - $stopping > 8;
        }
        my ($readable, $writable) = IO::Select->select($readers, $writers, undef, 1);
        for my $socket (@{ $readable || [] }) {
            if ($socket == $listener) { accept_all() }
            else                      { receive($connections{ fileno $socket }) }
        }
        for my $socket (@{ $writable || [] }) {
            my $number = fileno $socket;
            send_more($connections{$number}) if defined $number && $connections{$number};
        }
        expire();
    }
}

sub listen_on {
    my ($port) = @_;
    socket my $listener, AF_INET, SOCK_STREAM, 0 or die "socket: $!\n";
    setsockopt $listener, SOL_SOCKET, SO_REUSEADDR, 1;
    bind $listener, pack_sockaddr_in($port, INADDR_ANY) or die "Port $port cannot be bound: $!\n";
    listen $listener, SOMAXCONN or die "listen: $!\n";
    unblock($listener);
    return $listener;
}

sub unblock {
    my ($socket) = @_;
    fcntl $socket, F_SETFL, fcntl($socket, F_GETFL, 0) | O_NONBLOCK;
}

sub accept_all {
    while (keys %connections < CONNECTIONS_MAX && accept my $socket, $listener) {
        unblock($socket);
        setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
        $connections{ fileno $socket } = { socket => $socket, in => '', out => '', active => time };
        $readers->add($socket);
    }
    # The others wait in the kernel's queue until somebody leaves.
    $readers->remove($listener) if keys %connections >= CONNECTIONS_MAX;
}

sub close_connection {
    my ($connection) = @_;
    my $socket = $connection->{socket};
    delete $connections{ fileno $socket };
    $readers->remove($socket);
    $writers->remove($socket);
    close $socket;
    $readers->add($listener) unless $stopping || $readers->exists($listener);
}

sub busy {
    my ($connection) = @_;
    return $connection->{out} ne '' || $connection->{file};
}

sub expire {
    my $oldest = time - IDLE_SECONDS;
    close_connection($_) for grep { $_->{active} < $oldest } values %connections;
}

sub receive {
    my ($connection) = @_;
    return unless $connection;
    my $count = sysread $connection->{socket}, $connection->{in}, HEAD_MAX, length $connection->{in};
    if (!defined $count) {
        return if $!{EAGAIN} || $!{EWOULDBLOCK} || $!{EINTR};
        return close_connection($connection);
    }
    return close_connection($connection) if $count == 0;
    $connection->{active} = time;
    answer_next($connection);
}

# One answer is under way at a time; requests that came in behind it wait in the buffer, and the socket is not read.
sub answer_next {
    my ($connection) = @_;
    return if busy($connection);
    if ($connection->{in} =~ s/\A(?:\r?\n)*(.*?)\r?\n\r?\n//s) {
        my $head = $1;
        length $head > HEAD_MAX ? refuse($connection, {}, 431) : answer($connection, $head);
    }
    elsif (length $connection->{in} > HEAD_MAX) {
        refuse($connection, {}, 431);
    }
    else {
        return;
    }
    $readers->remove($connection->{socket});
    $writers->add($connection->{socket});
    send_more($connection);
}

sub send_more {
    my ($connection) = @_;
    if (length $connection->{out} < PIECE && $connection->{file}) {
        my $wanted = $connection->{left} < PIECE ? $connection->{left} : PIECE;
        my $count = sysread $connection->{file}, $connection->{out}, $wanted, length $connection->{out};
        # A file that became shorter cannot be made up for: the reader must see that something is missing.
        return close_connection($connection) unless $count;
        $connection->{left} -= $count;
        delete $connection->{file} if $connection->{left} == 0;
    }
    my $count = syswrite $connection->{socket}, $connection->{out};
    if (!defined $count) {
        return if $!{EAGAIN} || $!{EWOULDBLOCK} || $!{EINTR};
        return close_connection($connection);
    }
    substr $connection->{out}, 0, $count, '';
    $connection->{active} = time;
    return if busy($connection);
    return close_connection($connection) if $connection->{last};
    $writers->remove($connection->{socket});
    $readers->add($connection->{socket});
    answer_next($connection) if $connection->{in} ne '';
}

# ---- requests -------------------------------------------------------------------------------------------------------

sub answer {
    my ($connection, $head) = @_;
    my ($line, @fields) = split /\r?\n/, $head;
    my ($method, $target, $minor) = $line =~ m{\A([A-Z]+) (\S+) HTTP/1\.([01])\z};
    my %headers;
    for my $field (@fields) {
        my ($name, $value) = $field =~ /\A([^\s:]+):[ \t]*(.*?)[ \t]*\z/ or $method = undef;
        $headers{ lc $name } = $value if defined $name;
    }
    my $request = { method => $method, headers => \%headers };
    my $wish = lc($headers{connection} || '');
    # A body is not read, so what follows it cannot be told apart from the next request.
    $connection->{last} = 1
        if $stopping || $headers{'content-length'} || $headers{'transfer-encoding'}
        || ($minor || 0) == 0 && $wish !~ /keep-alive/ || $wish =~ /close/;
    if (!defined $method) {
        $connection->{last} = 1;
        return refuse($connection, $request, 400);
    }
    return refuse($connection, $request, 405, 'Allow: GET, HEAD') unless $method eq 'GET' || $method eq 'HEAD';
    $target =~ s{\Ahttps?://[^/]*}{}i;
    my ($path) = split /[?#]/, $target, 2;
    my @names = names_of($path);
    return refuse($connection, $request, 400) if @names && !defined $names[0];
    find_and_send($connection, $request, $path, @names);
}

# The decoded names of a path, without empty ones; an undefined one when the path is not acceptable.
sub names_of {
    my ($path) = @_;
    my @names;
    return (undef) unless defined $path && $path =~ m{\A/};
    for my $name (grep { $_ ne '' } split m{/}, $path) {
        return (undef) if $name =~ /%(?![0-9a-fA-F]{2})/;
        $name =~ s/%([0-9a-fA-F]{2})/chr hex $1/ge;
        return (undef) if $name =~ m{[/\0]} || $name eq '..';
        push @names, $name unless $name eq '.';
    }
    return @names;
}

sub find_and_send {
    my ($connection, $request, $path, @names) = @_;
    my $place = join '/', @names;
    # Hidden files, and what belongs to the deploy and not to the site.
    my $hidden = grep { /\A\./ && $_ ne '.well-known' } @names;
    $hidden ||= $folder eq '.' && $place =~ /\A(?:Procfile|static\.json)\z/;
    unless ($hidden) {
        my $found = within($place);
        if (defined $found && -d $found) {
            my $index = within("$place/index.html");
            if (defined $index && -f $index) {
                return send_file($connection, $request, 200, $index) if $path =~ m{/\z};
                $path =~ s{\A/+}{/};
                return refuse($connection, $request, 301, "Location: $path/");
            }
        }
        # A trailing slash names a folder, never a file.
        elsif (defined $found && -f $found && $path !~ m{/\z}) {
            return send_file($connection, $request, 200, $found);
        }
        if ($settings->{clean_urls} && $place ne '') {
            my $page = within("$place.html");
            return send_file($connection, $request, 200, $page) if defined $page && -f $page;
        }
        my $routes = $settings->{routes};
        my $fallback = ref $routes eq 'HASH' ? $routes->{'/**'} : undef;
        if (defined $fallback && !ref $fallback) {
            my $page = within($fallback);
            return send_file($connection, $request, 200, $page) if defined $page && -f $page;
        }
    }
    my $page = within($settings->{error_page} && !ref $settings->{error_page} ? $settings->{error_page} : '404.html');
    return send_file($connection, $request, 404, $page) if defined $page && -f $page;
    refuse($connection, $request, 404);
}

# The real path of a place in the folder; nothing when it is not there or a link leads out of the folder.
sub within {
    my ($place) = @_;
    my $path = realpath("$root/$place");
    return undef unless defined $path;
    return $path if $path eq $root || index($path, $root eq '/' ? '/' : "$root/") == 0;
    return undef;
}

sub http_time { strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime shift) }

sub send_file {
    my ($connection, $request, $status, $path) = @_;
    sysopen my $file, $path, O_RDONLY | O_NONBLOCK or return refuse($connection, $request, 404);
    my ($size, $changed) = (stat $file)[7, 9];
    my ($ending) = $path =~ m{\.([^./]+)\z};
    my @fields = (
        'Content-Type: ' . ($TYPES{ lc($ending || '') } || 'application/octet-stream'),
        'Last-Modified: ' . http_time($changed),
        sprintf('ETag: "%x-%x"', $changed, $size), 'Accept-Ranges: bytes', 'Cache-Control: no-cache',
    );
    my ($first, $length) = (0, $size);
    if ($status == 200) {
        return reply($connection, $request, 304, [ @fields[1, 2, 4] ], '') if unchanged($request, $changed, $size);
        ($status, $first, $length) = range_of($request, $changed, $size);
        return refuse($connection, $request, 416, "Content-Range: bytes */$size") if $status == 416;
        push @fields, sprintf 'Content-Range: bytes %d-%d/%d', $first, $first + $length - 1, $size if $status == 206;
    }
    reply($connection, $request, $status, [ @fields, "Content-Length: $length" ], '');
    return if $request->{method} eq 'HEAD' || $length == 0;
    sysseek $file, $first, 0;
    @$connection{qw(file left)} = ($file, $length);
}

sub unchanged {
    my ($request, $changed, $size) = @_;
    my $headers = $request->{headers};
    my $tag = sprintf '"%x-%x"', $changed, $size;
    if (defined(my $known = $headers->{'if-none-match'})) {
        return $known eq '*' || grep { s/\AW\///r eq $tag } split /\s*,\s*/, $known;
    }
    my $since = $headers->{'if-modified-since'};
    return defined $since && $since eq http_time($changed);
}

# One range of bytes; several at once are answered with the whole file, which is allowed.
sub range_of {
    my ($request, $changed, $size) = @_;
    my $headers = $request->{headers};
    my $range   = $headers->{range};
    my $whole   = [ 200, 0, $size ];
    return @$whole unless defined $range && $request->{method} eq 'GET' && $range =~ /\Abytes=(\d*)-(\d*)\z/;
    my ($from, $to) = ($1, $2);
    return @$whole if $from eq '' && $to eq '' || length $from > 15 || length $to > 15;
    my $if = $headers->{'if-range'};
    return @$whole if defined $if && $if ne sprintf('"%x-%x"', $changed, $size) && $if ne http_time($changed);
    if ($from eq '') {
        return (416, 0, 0) if $to == 0 || $size == 0;
        my $length = $to < $size ? $to : $size;
        return (206, $size - $length, $length);
    }
    return (416, 0, 0) if $from >= $size;
    return @$whole if $to ne '' && $to < $from;
    my $last = $to eq '' || $to >= $size ? $size - 1 : $to;
    return (206, $from, $last - $from + 1);
}

sub refuse {
    my ($connection, $request, $status, @fields) = @_;
    $connection->{last} = 1 if $status == 431 || $status == 400;
    my $text = "$status $REASONS{$status}\n";
    reply($connection, $request, $status,
        [ 'Content-Type: text/plain; charset=utf-8', 'Content-Length: ' . length $text, @fields ], $text);
}

sub reply {
    my ($connection, $request, $status, $fields, $body) = @_;
    my @head = ("HTTP/1.1 $status $REASONS{$status}", 'Date: ' . http_time(time), 'X-Content-Type-Options: nosniff', @$fields);
    push @head, 'Connection: close' if $connection->{last};
    $connection->{out} = join("\r\n", @head) . "\r\n\r\n";
    $connection->{out} .= $body unless ($request->{method} || '') eq 'HEAD';
}
