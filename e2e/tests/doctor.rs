//! `pilvi doctor` beside a server that runs, beside none, with wrong settings, and as somebody who may do little.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use pilvi_e2e::process;
use pilvi_e2e::server::{Options, Server};
use serde_json::Value;
use tempfile::TempDir;

/// It never takes longer, whatever hangs.
const DONE_WITHIN: Duration = Duration::from_secs(15);

/// `pilvi doctor --json` with a settings file, without anything of this machine's environment. Its exit code too.
fn doctor(home: &TempDir, settings: &str) -> (i32, Value) {
    let file = home.path().join("pilvi.toml");
    fs::write(&file, settings).unwrap();
    let mut command = Command::new(process::binary());
    command.arg("--config").arg(file).args(["doctor", "--json"]);
    examine(home, command)
}

fn examine(home: &TempDir, mut command: Command) -> (i32, Value) {
    command
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        // Nobody answers there.
        .env("QTC_PLATFORM_URL", "http://127.0.0.1:9/v1");
    let begun = Instant::now();
    let output = command.output().unwrap();
    assert!(begun.elapsed() < DONE_WITHIN, "{:?}", begun.elapsed());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("no JSON ({error}): {said}"));
    (output.status.code().unwrap(), report)
}

/// The finding of a name.
#[track_caller]
fn of<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut findings = report["findings"].as_array().unwrap().iter();
    findings
        .find(|finding| finding["name"] == name)
        .unwrap_or_else(|| panic!("nothing is said of {name}: {report:#}"))
}

#[test]
fn every_part_is_looked_at_and_what_is_wrong_is_explained() {
    let home = TempDir::new().unwrap();
    let (code, report) = doctor(
        &home,
        "http = \"127.0.0.1:0\"\nhttps = \"127.0.0.1:0\"\nssh = \"127.0.0.1:0\"\n",
    );
    for area in ["machine", "sandbox", "server", "developer"] {
        let findings = report["findings"].as_array().unwrap();
        assert!(
            findings.iter().any(|finding| finding["area"] == area),
            "{report:#}"
        );
    }
    for name in [
        "system",
        "user",
        "clock",
        "memory",
        "open files",
        "git",
        "*.localhost",
        "layers",
        "data folder",
        "disk",
    ] {
        of(&report, name);
    }
    for finding in report["findings"].as_array().unwrap() {
        let is_wrong = finding["state"] == "warning" || finding["state"] == "fault";
        let says = |key: &str| finding[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(says("found"), "{finding:#}");
        assert!(!is_wrong || says("costs"), "what does it cost? {finding:#}");
    }
    let faults = report["findings"].as_array().unwrap().iter();
    let faults = faults.filter(|finding| finding["state"] == "fault").count();
    assert_eq!(
        code == 0,
        faults == 0,
        "the exit code says whether something is broken"
    );
    assert_eq!(report["is_fine"], code == 0);
    assert!(
        !home.path().join(".local").exists(),
        "looking makes nothing"
    );
}

#[test]
fn a_running_server_is_no_clash_with_itself() {
    let data = TempDir::new().unwrap();
    let server = Server::start(&Options {
        data: Some(data.path().to_owned()),
        ..Options::serve()
    });
    let home = TempDir::new().unwrap();
    let settings = format!(
        "data = {:?}\nhttp = \"{}\"\nhttps = \"{}\"\nssh = \"127.0.0.1:0\"\n",
        data.path(),
        server.http,
        server.https()
    );
    let (_, report) = doctor(&home, &settings);
    assert_eq!(report["is_running"], true);
    for name in ["data folder", "http", "https", "answers"] {
        assert_eq!(of(&report, name)["state"], "fine", "{report:#}");
    }
    server.stop();
    let (_, report) = doctor(&home, &settings);
    assert_eq!(report["is_running"], false);
    assert_eq!(of(&report, "answers")["state"], "note");
}

#[test]
fn what_keeps_a_server_from_starting_is_a_fault() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = TempDir::new().unwrap();
    let data = home.path().join("data");
    fs::write(&data, "a file").unwrap();
    let settings = format!(
        "data = {data:?}\nhttp = \"{}\"\nhttps = \"192.0.2.1:443\"\nssh = \"127.0.0.1:0\"\nsmtp-url = \
         \"smtp://anna:hunter2@127.0.0.1:9\"\n",
        taken.local_addr().unwrap()
    );
    let (code, report) = doctor(&home, &settings);
    assert_eq!(code, 1);
    for (name, found) in [
        ("data folder", "is a file"),
        ("http", "is taken by"),
        ("https", "does not have the address 192.0.2.1"),
        ("mail", "127.0.0.1 cannot be reached at port 9"),
    ] {
        let finding = of(&report, name);
        assert_eq!(finding["state"], "fault", "{finding:#}");
        assert!(
            finding["found"].as_str().unwrap().contains(found),
            "{finding:#}"
        );
        assert!(!finding["mend"].as_str().unwrap().is_empty(), "{finding:#}");
    }
    assert!(!report.to_string().contains("hunter2"), "{report:#}");
}

#[test]
fn wrong_settings_are_a_fault_and_the_rest_is_looked_at() {
    let home = TempDir::new().unwrap();
    let (code, report) = doctor(&home, "htpp = 1\n");
    assert_eq!(code, 1);
    let settings = of(&report, "settings");
    assert!(
        settings["found"]
            .as_str()
            .unwrap()
            .contains("did you mean `http`?"),
        "{settings:#}"
    );
    assert_eq!(settings["mend"], "pilvi config check");
    of(&report, "git");
}

#[test]
fn an_ordinary_user_is_told_what_only_root_can_have() {
    let home = TempDir::new().unwrap();
    // Whoever the tests run as, `nobody` is not root.
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let binary = home.path().join("pilvi");
    fs::copy(process::binary(), &binary).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&binary)
        .args(["--config", "/dev/null", "doctor", "--json"]);
    if !Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        // Whoever runs this is an ordinary user already.
        command = Command::new(&binary);
        command.args(["--config", "/dev/null", "doctor", "--json"]);
    }
    let (_, report) = examine(&home, command);
    assert_eq!(report["user"], "an ordinary user");
    assert_eq!(of(&report, "user")["state"], "note");
    let own_uid = of(&report, "own-uid");
    assert_eq!(own_uid["state"], "warning");
    assert!(
        own_uid["mend"].as_str().unwrap().contains("root"),
        "{own_uid:#}"
    );
}

#[test]
fn people_get_a_page_of_text_without_colours() {
    let home = TempDir::new().unwrap();
    let output = Command::new(process::binary())
        .args(["--config", "/dev/null", "doctor"])
        .env("HOME", home.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for title in [
        "This machine",
        "Apps and their sandboxes",
        "The server",
        "You as a developer",
    ] {
        assert!(text.contains(&format!("\n{title}\n")), "{text}");
    }
    assert!(!text.contains('\x1b'), "{text}");
    let commands = |line: &&str| line.contains("mend");
    let too_long = text
        .lines()
        .filter(|line| !commands(line))
        .find(|line| line.chars().count() > 100);
    assert_eq!(too_long, None, "{text}");
}
