//! A server without any right makes sandboxes too.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::world::{HELPER, is_possible, skip, wait_for_turn};

/// Nobody.
const ID: u32 = 65_534;

/// Whether this kernel lets users without rights make user namespaces.
fn is_allowed() -> bool {
    let tried = Command::new("setpriv")
        .args([
            &format!("--reuid={ID}"),
            &format!("--regid={ID}"),
            "--clear-groups",
            "unshare",
            "-Ur",
            "true",
        ])
        .output();
    let is_allowed = tried.is_ok_and(|output| output.status.success());
    if !is_allowed {
        skip("setpriv or unshare is missing, or users may not make user namespaces here");
    }
    is_allowed
}

#[tokio::test]
async fn a_server_without_rights_makes_sandboxes_of_its_own_user() {
    if !is_possible() || !is_allowed() {
        return;
    }
    let _turn = wait_for_turn("pilvi-test-rootless").await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let helper = folder.path().join("helper");
    std::fs::copy(HELPER, &helper).unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(ID), Some(ID)).unwrap();
    let line = "id -u; ls -n /tmp/.. | grep tmp; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; \
                unshare -U true; cat /proc/1/environ; ls /proc | grep -c '^[0-9]'; echo x > /usr/x";
    let server = Command::new("setpriv")
        .args([
            &format!("--reuid={ID}"),
            &format!("--regid={ID}"),
            "--clear-groups",
        ])
        .arg(&helper)
        .args([
            "serve",
            data.to_str().unwrap(),
            "pilvi-test-rootless",
            "sh",
            "-c",
            line,
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&server.stdout);
    for expected in [
        "started\n",
        "5000\n",
        "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n",
        "unshare failed: Operation not permitted",
        "/proc/1/environ: Permission denied",
        "\n4\n",
        "Read-only file system",
        "ended Code(2)",
    ] {
        assert!(
            text.contains(expected),
            "{expected:?} is missing in {text}{}",
            String::from_utf8_lossy(&server.stderr)
        );
    }
}
