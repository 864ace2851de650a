//! How the machine's own tables are read, and how a report looks.

use std::path::Path;

use super::report::{Look, Report};
use super::*;

#[test]
fn the_kernel_tells_its_version_in_many_ways() {
    for (release, version) in [
        ("6.1.0-28-amd64", Some((6, 1))),
        ("6.18", Some((6, 18))),
        ("5.15.167.4-microsoft-standard-WSL2", Some((5, 15))),
        ("six", None),
        ("", None),
    ] {
        assert_eq!(machine::kernel_version(release), version, "{release}");
    }
    let os = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
    let name = machine::value_of(os, "PRETTY_NAME");
    assert_eq!(name.as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
    assert_eq!(machine::value_of(os, "NAM"), None);
    assert_eq!(programs::version_of("git version 2.39.5"), Some((2, 39)));
    assert_eq!(
        programs::version_of("git version 2.39.5 (Apple Git-154)"),
        Some((2, 39))
    );
    assert_eq!(programs::version_of("git"), None);
}

#[test]
fn a_program_that_hangs_or_is_missing_is_no_reason_to_wait() {
    assert!(matches!(
        programs::ask("pilvi-no-such-program", &[]),
        programs::Said::Missing
    ));
    assert!(matches!(
        programs::ask("false", &[]),
        programs::Said::Failed
    ));
    assert!(matches!(programs::ask("echo", &["x"]), programs::Said::Text(text) if text == "x\n"));
}

#[test]
fn a_lock_is_found_by_its_file() {
    let locks = "1: POSIX  ADVISORY  WRITE 812 08:01:131 0 EOF\n2: FLOCK  ADVISORY  WRITE 900 fe:00:42 0 EOF\n";
    let device = rustix::fs::makedev(0xFE, 0);
    assert!(data::holds(locks, device, 42));
    assert!(!data::holds(locks, device, 4));
    assert!(
        !data::holds(locks, rustix::fs::makedev(8, 1), 131),
        "not that kind of lock"
    );
    assert!(!data::holds("", device, 42));
}

#[test]
fn the_innermost_mount_decides_the_kind_of_a_file_system() {
    let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                  30 22 0:26 / /tmp rw shared:5 - tmpfs tmpfs rw\n\
                  31 22 0:27 / /srv/my\\040data rw - nfs4 host:/x rw\n";
    for (path, kind) in [
        ("/var/lib/pilvi", "ext4"),
        ("/tmp/x", "tmpfs"),
        ("/tmpfoo", "ext4"),
        ("/srv/my data/pilvi", "nfs4"),
    ] {
        let found = data::kind_of(mounts, Path::new(path));
        assert_eq!(found.as_deref(), Some(kind), "{path}");
    }
    assert_eq!(data::kind_of("", Path::new("/")), None);
}

#[test]
fn sizes_are_readable() {
    for (bytes, text) in [
        (2_048, "2 KiB"),
        (5 << 20, "5 MiB"),
        (3 << 30, "3.0 GiB"),
        ((3 << 30) + (1 << 29), "3.5 GiB"),
    ] {
        assert_eq!(data::size(bytes), text);
    }
}

#[test]
fn who_listens_is_read_from_the_kernels_table() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0\n\
        1: 0100007F:1F91 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0\n\
        2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1 0 100 0\n";
    for (address, inode) in [
        ("127.0.0.1:8080", Some("111")),
        ("0.0.0.0:8080", Some("111")),
        ("127.0.0.2:8080", None),
        ("127.0.0.1:8081", None),
        ("127.0.0.1:22", Some("333")),
    ] {
        let found = ports::listening(table, address.parse().unwrap());
        // The table is in the order of the machine's bytes.
        if cfg!(target_endian = "little") {
            assert_eq!(found.as_deref(), inode, "{address}");
        }
    }
}

#[test]
fn a_port_that_somebody_has_is_a_fault_and_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut circumstances = circumstances();
    circumstances.options.http = listener.local_addr().unwrap();
    let found = ports::ports(&circumstances).remove(0);
    assert_eq!((found.name.as_str(), found.state), ("http", State::Fault));
    let us = format!("process {}", std::process::id());
    assert!(found.found.ends_with(&us), "{found:?}");
    assert!(found.mend.contains("--http"), "{found:?}");
}

#[test]
fn the_place_of_a_mail_server_is_found_without_its_password() {
    for (url, place) in [
        (
            "smtps://anna:p%40ss@mail.example.org",
            Some(("mail.example.org", 465)),
        ),
        (
            "smtp://mail.example.org:2525",
            Some(("mail.example.org", 2525)),
        ),
        (
            "smtp://mail.example.org?tls=required",
            Some(("mail.example.org", 587)),
        ),
        ("smtp://[::1]:25/x", Some(("::1", 25))),
        ("smtp://[::1]", Some(("::1", 25))),
        ("mail.example.org", None),
        ("smtp://host:port", None),
    ] {
        let place = place.map(|(host, port)| (host.to_owned(), port));
        assert_eq!(server::place_of(url), place, "{url}");
    }
}

fn circumstances() -> Circumstances {
    let (options, _) = config::defaults();
    Circumstances {
        file: Some(PathBuf::from("/etc/pilvi/pilvi.toml")),
        faults: None,
        options,
        data: PathBuf::from("/var/lib/pilvi"),
        is_root: true,
        is_running: false,
    }
}

#[test]
fn what_is_wrong_with_a_data_folder_is_said_with_what_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut circumstances = circumstances();
    circumstances.data = folder.path().join("new");
    let first = |circumstances: &Circumstances| data::folder(circumstances).remove(0);
    assert_eq!(first(&circumstances).state, State::Fine);
    std::fs::write(&circumstances.data, "x").unwrap();
    let found = first(&circumstances);
    assert_eq!(found.state, State::Fault);
    assert!(found.mend.contains("mv "), "{found:?}");
    circumstances.data = folder.path().to_owned();
    std::fs::write(folder.path().join("secret.key"), "x").unwrap();
    let found = data::folder(&circumstances);
    assert_eq!(found[0].found, "empty; the first start fills it");
    assert_eq!(
        (found[1].name.as_str(), found[1].state),
        ("secrets", State::Warning)
    );
    assert!(found[1].mend.starts_with("chmod 600 "), "{found:?}");
}

#[test]
fn a_report_reads_well() {
    let long = "Clients, sockets and databases share them: about 512 connections at \
        a time are all that can be had here.";
    let findings = vec![
        (
            Area::Machine,
            Finding::fine(
                "system",
                "Debian GNU/Linux 12 (bookworm), Linux 6.1.0, x86_64",
            ),
        ),
        (
            Area::Machine,
            Finding::of(
                State::Warning,
                "open files",
                "at most 1024",
                long,
                "ulimit -Hn 1048576",
            ),
        ),
        (
            Area::Server,
            Finding::of(
                State::Fault,
                "http",
                "127.0.0.1:8080 is taken by nginx, process 7",
                "The server does not start.",
                "Stop that, or choose another address with --http.",
            ),
        ),
    ];
    let report = Report::new(&circumstances(), findings);
    assert!(!report.is_fine);
    let look = Look {
        colour: false,
        width: 80,
    };
    assert_eq!(
        report.text(look),
        "\
Looked as root.
  settings  /etc/pilvi/pilvi.toml
  data      /var/lib/pilvi

This machine
  ok     system      Debian GNU/Linux 12 (bookworm), Linux 6.1.0, x86_64
  warn   open files  at most 1024
                     costs  Clients, sockets and databases share them: about 512
                            connections at a time are all that can be had here.
                     mend   ulimit -Hn 1048576

The server
  FAULT  http        127.0.0.1:8080 is taken by nginx, process 7
                     costs  The server does not start.
                     mend   Stop that, or choose another address with --http.

One thing is broken.
"
    );
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["is_fine"], false);
    assert_eq!(json["findings"][2]["area"], "server");
    assert_eq!(json["findings"][2]["state"], "fault");
    let coloured = report.text(Look {
        colour: true,
        ..look
    });
    assert!(coloured.contains("\x1b[1;31mFAULT\x1b[0m"), "{coloured}");
}
