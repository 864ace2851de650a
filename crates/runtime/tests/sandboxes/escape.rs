//! What a hostile program tries, and how far it gets.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use pilvi_runtime::{Ending, From, Mount};

use crate::world::{HELPER_INSIDE, World, exec_to_end, is_possible};

/// The only attempts that may come through: a signal that the init does not mind.
const HARMLESS: [&str; 1] = ["signals to init: sent"];

/// What comes through where root itself has no right over resources, as in some containers: only that right sets a
/// bound.
const UNBOUND_RANK: &str = "the rank of a program of the host: allowed";

/// Whether this process has the right over resources.
fn bounds_ranks() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let rights = capabilities(None).unwrap();
    rights.effective.contains(CapabilitySet::SYS_RESOURCE)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_succeeds() {
    if !is_possible() {
        return;
    }
    let world = World::new("attempts").await;
    let (spec, _) = world.spec(&["sleep", "1000"]);
    let sandbox = world.launch(spec).await;
    let (exit, text) = exec_to_end(&sandbox, &[HELPER_INSIDE, "attempt"]).await;
    assert_eq!(exit.ending, Ending::Code(0), "{text}");
    let outcomes: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.rsplit_once(": "))
        .collect();
    let allowed: Vec<_> = text
        .lines()
        .filter(|line| !HARMLESS.contains(line))
        .filter(|line| bounds_ranks() || *line != UNBOUND_RANK)
        .filter(|line| {
            line.rsplit_once(": ")
                .is_none_or(|(_, errno)| errno.parse::<i32>().is_err())
        })
        .collect();
    assert!(allowed.is_empty(), "{allowed:?}");
    assert!(
        outcomes.len() > 90,
        "attempts are missing: {}",
        outcomes.len()
    );
    // Refused by the filter, not by chance.
    let expect = |errno: i32, names: &[&str]| {
        for name in names {
            assert_eq!(
                outcomes.get(name),
                Some(&errno.to_string().as_str()),
                "{name}"
            );
        }
    };
    let by_filter = [
        "unshare user",
        "clone user",
        "ptrace attach init",
        "process_vm_readv init",
        "prlimit init",
        "mount tmpfs",
        "fsopen",
        "bpf",
        "perf_event_open",
        "keyctl",
        "add_key",
        "userfaultfd",
        "io_uring_setup",
        "socket vsock",
        "socket packet",
        "push words into a terminal",
        "push words into a terminal, disguised",
    ];
    expect(libc::EPERM, &by_filter);
    expect(
        libc::ENOSYS,
        &[
            "clone3 user",
            "a call of the future",
            "unshare of x32",
            "getpid of x32",
            "quotactl",
        ],
    );
    expect(libc::EROFS, &["create in /", "create in /usr/local"]);
    expect(
        libc::ENOENT,
        &[
            "see /root",
            "see /dev/mem",
            "see /etc/shadow",
            "see /dev/vda",
        ],
    );
    if bounds_ranks() {
        expect(libc::EACCES, &["the rank of a program of the host"]);
    }
    // After all that the init still serves.
    let (exit, text) = exec_to_end(&sandbox, &["echo", "alive"]).await;
    assert_eq!((exit.ending, text.as_str()), (Ending::Code(0), "alive\n"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_another_kind_of_processor_end_the_program() {
    if !is_possible() {
        return;
    }
    let world = World::new("foreign").await;
    let (exit, text) = world.run(&[HELPER_INSIDE, "foreign-calls"]).await;
    assert_eq!(
        (exit.ending, text.as_str()),
        (Ending::Signal(libc::SIGSYS), "")
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_app_is_neither_seen_nor_read() {
    if !is_possible() {
        return;
    }
    let world = World::new("neighbours").await;
    let secret = world.folder("secret", 200_001);
    std::fs::write(secret.join("key"), "the key").unwrap();
    let (mut spec, _) = world.spec(&["sleep", "1234567"]);
    spec.env.push(("SECRET".into(), "hidden-word".into()));
    spec.mounts.push(Mount {
        at: "/app".into(),
        from: From::Folder {
            path: secret.clone(),
            writable: true,
        },
    });
    let victim = world.launch(spec).await;
    let find = format!(
        "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | \
         grep -e hidden-wor[d] -e 123456[7]; \
         ls /proc | grep -c '^[0-9]'; cat {0}/key 2>&1; cat /proc/1/root{0}/key /app/key 2>&1",
        secret.display()
    );
    let (mut spec, output) = world.spec(&["sh", "-c", &find]);
    spec.name = "other/web.1".into();
    // Even with the same user of the host, as when the server is not root.
    spec.uid = 200_001;
    let thief = world.launch(spec).await;
    thief.exited().await;
    let text = output.text();
    assert!(
        !text.contains("hidden-word") && !text.contains("1234567") && !text.contains("the key"),
        "{text}"
    );
    // Init, the shell, ls and grep.
    assert!(text.starts_with("4\n"), "{text}");
    assert_eq!(victim.exit(), None);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loopback_of_the_host_is_another_one() {
    if !is_possible() {
        return;
    }
    let world = World::new("loopback").await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let name = SocketAddr::from_abstract_name(&port).unwrap();
    let _abstract = UnixListener::bind_addr(&name).unwrap();
    let (_, text) = world.run(&[HELPER_INSIDE, "connect", &port]).await;
    let refused = libc::ECONNREFUSED;
    let expected = format!(
        "connect to the host's loopback: {refused}\nconnect to the host's abstract socket: {refused}\n"
    );
    assert_eq!(text, expected);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_give_rights_give_none() {
    if !is_possible() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let world = World::new("setuid").await;
    let folder = world.path("tools");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy("/usr/bin/id", folder.join("id")).unwrap();
    std::fs::set_permissions(folder.join("id"), std::fs::Permissions::from_mode(0o6755)).unwrap();
    let (mut spec, output) = world.spec(&[
        "sh",
        "-c",
        "/tools/id -u; /tools/id -g; test -u /tools/id && echo marked",
    ]);
    spec.mounts.push(Mount {
        at: "/tools".into(),
        from: From::Folder {
            path: folder,
            writable: false,
        },
    });
    world.launch(spec).await.exited().await;
    assert_eq!(output.text(), "5000\n5000\nmarked\n");
    world.end().await;
}
