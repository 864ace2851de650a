//! The app of these tests, and the buildpack that it brings along.

use std::path::Path;
use std::process::Command;

use pilvi_e2e::app::Source;
use tempfile::TempDir;

/// Tells its buildpack; `file:` leads into the project.
pub(crate) const BUILDPACK: &str = "BUILDPACK_URL=file:///tmp/build/pack.tgz";

/// Runs the project's own script.
const PACK: [(&str, &str); 2] = [
    ("detect", "#!/bin/bash\necho Faulty\n"),
    (
        "compile",
        "#!/bin/bash\ncd \"$1\" && exec bash ./build.sh\n",
    ),
];

/// Answers every request with the version, once it has read the whole of it, so that a client decides how long a
/// request takes. Where it listens, and what else it does, are its arguments.
const APP: &str = r#"
use strict;
use warnings;
use IO::Socket::IP;

my ($host, @ways) = @ARGV;
my %does = map { $_ => 1 } @ways;
open my $file, '<', 'version' or die "There is no version: $!\n";
chomp(my $version = <$file>);
my $server = IO::Socket::IP->new(LocalHost => $host, LocalPort => $ENV{PORT}, Listen => 64, ReuseAddr => 1,
    # Otherwise ::1 is no address where nothing but the loopback has one.
    GetAddrInfoFlags => 0)
    or die "Port $ENV{PORT} cannot be bound: $@\n";
$| = 1;
$SIG{CHLD} = 'IGNORE';
$SIG{TERM} = 'IGNORE' if $does{stubborn};
if ($does{flood} && !fork) {
    my $piece = 'x' x (1 << 20);
    print $piece for 1 .. $ENV{FLOOD};
    # Only now a line ends.
    print "\n";
    print STDERR "the flood is over\n";
    exit;
}
print "version $version listens\n";
while (1) {
    my $client = $server->accept or next;
    next if fork;
    my $length = 0;
    while (defined(my $line = <$client>)) {
        $length = $1 if $line =~ /\AContent-Length: (\d+)/i;
        last if $line =~ /\A\r?\n\z/;
    }
    print "a request has begun\n" if $length;
    read $client, my $body, $length if $length;
    my $text = "version $version\n";
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n",
        'Content-Length: ', length $text, "\r\n\r\n", $text;
    exit;
}
"#;

pub(crate) const PROCFILE: &str = "web: exec perl app.pl 0.0.0.0\n";

/// The first version.
#[track_caller]
pub(crate) fn first() -> Option<Source> {
    let source = Source::of(&[
        ("Procfile", PROCFILE),
        ("app.pl", APP),
        ("build.sh", "echo Nothing to do\n"),
        ("version", "1\n"),
    ])?;
    pack(source.path());
    source.commit();
    Some(source)
}

fn pack(project: &Path) {
    let folder = TempDir::new().unwrap();
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for (name, script) in PACK {
        std::fs::write(bin.join(name), script).unwrap();
    }
    let packed = Command::new("tar")
        .arg("-czf")
        .arg(project.join("pack.tgz"))
        .arg("-C")
        .arg(folder.path())
        .arg("bin")
        .status();
    assert!(packed.unwrap().success());
}
