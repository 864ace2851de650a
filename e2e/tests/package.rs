//! The Debian package: what is in it, that its settings and its unit are sound, and, in a full run, that a bare Debian
//! which it is installed on boots with it, runs an app, and gets rid of it again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pilvi_e2e::{app, process, search_path, skip};
use serde_json::Value;
use tempfile::TempDir;

/// What `systemd-analyze security` may say at most; without any protection it is 96.
const EXPOSURE_MAX: &str = "--threshold=58";

/// A package that was just made of the binary beside this test.
struct Package {
    folder: TempDir,
}

impl Package {
    /// None where the tools are missing; the running test is reported as skipped then.
    #[track_caller]
    fn make() -> Option<Self> {
        if search_path::find("dpkg-deb").is_none() || search_path::find("strip").is_none() {
            skip::report(
                "dpkg-deb and strip are needed: as root, run apt-get install dpkg binutils",
            );
            return None;
        }
        let folder = TempDir::new().unwrap();
        let binary = process::binary();
        let profile = match binary.parent().unwrap().ends_with("release") {
            true => "release",
            false => "dev",
        };
        let mut make = Command::new(env!("CARGO"));
        make.current_dir(root())
            .args(["run", "--quiet", "--package", "xtask", "--"])
            .args(["package", "--no-build", "--profile", profile, "--out"])
            .arg(folder.path());
        run(&mut make);
        Some(Self { folder })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("pilvi.deb")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Expects a program to end well; returns what it printed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .join("\n")
}

#[test]
fn the_package_holds_what_a_server_needs() {
    let Some(package) = Package::make() else {
        return;
    };
    let field = |name: &str| {
        run(Command::new("dpkg-deb")
            .arg("--field")
            .arg(package.file())
            .arg(name))
    };
    let version = run(Command::new(process::binary()).arg("--version"));
    assert_eq!(version.trim(), format!("pilvi {}", field("Version").trim()));
    assert!(
        field("Depends").contains("libc6 (>= 2."),
        "{}",
        field("Depends")
    );

    let tree = package.folder.path().join("unpacked");
    run(Command::new("dpkg-deb")
        .arg("--raw-extract")
        .arg(package.file())
        .arg(&tree));
    let listed = run(Command::new("dpkg-deb")
        .arg("--contents")
        .arg(package.file()));
    assert!(
        listed.lines().all(|line| line.contains(" root/root ")),
        "{listed}"
    );
    for (place, mode) in [
        ("usr/bin/pilvi", 0o755),
        ("usr/lib/systemd/system/pilvi.service", 0o644),
        ("etc/pilvi/pilvi.toml", 0o644),
        ("etc/default/pilvi", 0o644),
        ("usr/share/doc/pilvi/copyright", 0o644),
        ("usr/share/doc/pilvi/operations.md", 0o644),
        ("usr/share/bash-completion/completions/pilvi", 0o644),
        ("DEBIAN/postinst", 0o755),
    ] {
        let metadata =
            fs::metadata(tree.join(place)).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{place}");
    }
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh")
            .arg("-n")
            .arg(tree.join("DEBIAN").join(script)));
    }
    let conffiles = fs::read_to_string(tree.join("DEBIAN/conffiles")).unwrap();
    assert_eq!(conffiles, "/etc/default/pilvi\n/etc/pilvi/pilvi.toml\n");

    // The settings are fine in the eyes of the program that comes with them.
    let binary = tree.join("usr/bin/pilvi");
    let mut check = Command::new(&binary);
    check
        .env_clear()
        .args(["config", "check", "--json"])
        .arg(tree.join("etc/pilvi/pilvi.toml"));
    let report: Value = serde_json::from_str(&run(&mut check)).unwrap();
    assert_eq!(report["findings"], Value::Array(Vec::new()), "{report:#}");
    let keys: Vec<_> = report["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["key"])
        .collect();
    assert_eq!(keys, ["data", "health"]);
    // Docker builds in this folder.
    assert!(package.folder.path().join("Containerfile").is_file());
}

#[test]
fn the_unit_is_sound_and_hardened() {
    if search_path::find("systemd-analyze").is_none() {
        skip::report("systemd-analyze is not installed: as root, run apt-get install systemd");
        return;
    }
    let unit = root().join("packaging/debian/pilvi.service");
    let folder = TempDir::new().unwrap();
    // Where the unit looks for the program, which is not installed here.
    let text = fs::read_to_string(unit).unwrap();
    let text = text.replace("/usr/bin/pilvi", process::binary().to_str().unwrap());
    let unit = folder.path().join("pilvi.service");
    fs::write(&unit, text).unwrap();
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let warnings = said(&output);
    assert!(!warnings.contains("pilvi.service:"), "{warnings}");
    let mut security = Command::new("systemd-analyze");
    security
        .args(["security", "--no-pager", "--offline=true", EXPOSURE_MAX])
        .arg(&unit);
    run(&mut security);
}

/// Whether minutes may be spent on a whole system.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is how a full run is told from another"
)]
fn is_full() -> bool {
    std::env::var_os("PILVI_INSTALL_PACKAGE").is_some()
}

/// A bare Debian in a folder, with a few programs that `look.sh` calls.
fn debian(folder: &Path) {
    let programs =
        "ca-certificates,curl,dbus,git,init-system-helpers,nftables,perl,systemd,systemd-sysv";
    let mut make = Command::new("mmdebstrap");
    make.args([
        "--quiet",
        "--variant=minbase",
        "--include",
        programs,
        "bookworm",
    ])
    .arg(folder)
    .arg("http://deb.debian.org/debian");
    run(&mut make);
}

fn inside(folder: &Path, script: &str) -> String {
    run(Command::new("chroot")
        .arg(folder)
        .args(["sh", "-ec", script]))
}

#[test]
fn a_bare_debian_boots_with_it_and_runs_an_app() {
    if !is_full() {
        // A full run makes a Debian for it.
        return;
    }
    if ["mmdebstrap", "unshare", "chroot"]
        .into_iter()
        .any(|tool| search_path::find(tool).is_none())
    {
        skip::report("mmdebstrap is not installed: as root, run apt-get install mmdebstrap");
        return;
    }
    let Some(package) = Package::make() else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let house = folder.path().join("debian");
    debian(&house);
    fs::copy(package.file(), house.join("pilvi.deb")).unwrap();
    inside(
        &house,
        "dpkg --install /pilvi.deb && dpkg --verify pilvi && systemctl is-enabled pilvi",
    );
    let mode = |place: &str| {
        fs::metadata(house.join(place))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode("etc/pilvi/pilvi.toml"), mode("var/lib/pilvi")),
        (0o640, 0o700)
    );

    let said = boot(&house);
    for line in [
        "active: active Answers at http://127.0.0.1:8080",
        r#"ready: {"status":"ready"}"#,
        "journal has the token: 0",
        "app: <h1>Hello, world, from a Procfile</h1>",
        "doctor: 0",
        "again: <h1>Hello, world, from a Procfile</h1>",
        "stopped: success inactive",
    ] {
        assert!(
            said.lines().any(|found| found == line),
            "{line:?} is not in\n{said}"
        );
    }

    // The same package again is an upgrade, which keeps what somebody has written into the settings.
    let settings = house.join("etc/pilvi/pilvi.toml");
    let text = fs::read_to_string(&settings).unwrap() + "\napps-boot-timeout = 30\n";
    fs::write(&settings, &text).unwrap();
    inside(&house, "dpkg --install /pilvi.deb && pilvi config check");
    assert_eq!(fs::read_to_string(&settings).unwrap(), text);
    assert_eq!(mode("etc/pilvi/pilvi.toml"), 0o640);
    inside(&house, "dpkg --purge pilvi");
    assert!(!house.join("etc/pilvi").exists());
    assert!(
        house.join("var/lib/pilvi/pilvi.db").is_file(),
        "data is nobody's to remove but its owner's"
    );
}

/// Boots the system with `look.sh` as its last service, and returns what that said.
fn boot(house: &Path) -> String {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/package");
    fs::copy(scripts.join("look.sh"), house.join("look.sh")).unwrap();
    run(Command::new("cp")
        .arg("-r")
        .arg(app::examples().join("hello-procfile"))
        .arg(house.join("hello")));
    let unit = "[Unit]\nAfter=pilvi.service\nWants=pilvi.service\n[Service]\nType=oneshot\nExecStart=sh /look.sh\n\
                StandardOutput=file:/said\nTimeoutStartSec=180\nExecStopPost=systemctl poweroff --force\n\
                [Install]\nWantedBy=multi-user.target\n";
    fs::write(house.join("etc/systemd/system/look.service"), unit).unwrap();
    inside(
        house,
        "systemctl --quiet enable look.service && systemctl --quiet mask systemd-udevd.service getty@.service \
         systemd-networkd.service systemd-resolved.service",
    );
    let group = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|group| Path::new(group).join("cgroup.procs").exists());
    let group = group
        .expect("there are control groups of version 2")
        .to_owned();
    let group = format!("{group}/pilvi-test-boot-{}", std::process::id());
    let mut boot = Command::new("timeout");
    boot.args(["--kill-after=5", "240", "sh"])
        .arg(scripts.join("boot.sh"))
        .arg(house)
        .arg(&group);
    let output = boot.output().unwrap();
    // What systemd left of its groups, innermost first.
    let _ = Command::new("find")
        .arg(&group)
        .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"])
        .output();
    fs::read_to_string(house.join("said"))
        .unwrap_or_else(|error| panic!("nothing was said ({error}): {}", said(&output)))
}
