//! The settings file, the environment over it, the command line over both: on the real program, as an operator has
//! them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pilvi_e2e::http::Request;
use pilvi_e2e::process;
use pilvi_e2e::server::{Options, Server};
use serde_json::Value;
use tempfile::TempDir;

/// A folder for a settings file, where no other counts.
struct Desk(TempDir);

impl Desk {
    fn with(text: &str) -> Self {
        let desk = Self(TempDir::new().unwrap());
        fs::write(desk.file(), text).unwrap();
        desk
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("pilvi.toml")
    }

    /// `pilvi --config FILE <words>` without anything of this machine's environment.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(process::binary());
        command
            .env_clear()
            .env("HOME", self.0.path())
            .arg("--config")
            .arg(self.file())
            .args(words);
        command
    }

    fn check(&self, words: &[&str]) -> (i32, Value) {
        let words = [&["config", "check", "--json"], words].concat();
        let output = self.command(&words).output().unwrap();
        let json = serde_json::from_slice(&output.stdout);
        let json = json.unwrap_or_else(|error| panic!("no JSON ({error}): {}", errors(&output)));
        (output.status.code().unwrap(), json)
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn lines(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_is_nearer_wins() {
    let desk =
        Desk::with("apps-boot-timeout = 11\napps-build-timeout = 12\napps-idle-timeout = 13\n");
    let output = desk
        .command(&["config", "check", "--json"])
        .env("PILVI_APPS_BUILD_TIMEOUT", "22")
        .env("PILVI_APPS_IDLE_TIMEOUT", "23")
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let settings = report["settings"].as_array().unwrap();
    let rows: Vec<_> = settings
        .iter()
        .map(|row| {
            ["key", "value", "from"]
                .map(|name| row[name].as_str().unwrap())
                .join(" ")
        })
        .collect();
    assert_eq!(
        rows,
        [
            "apps-idle-timeout 23 PILVI_APPS_IDLE_TIMEOUT",
            "apps-build-timeout 22 PILVI_APPS_BUILD_TIMEOUT",
            "apps-boot-timeout 11 line 1",
        ]
    );
}

#[test]
fn a_server_starts_with_its_file() {
    let data = TempDir::new().unwrap();
    let desk = Desk::with(&format!(
        "health = \"127.0.0.1:0\"\ndata = {:?}\n[apps]\ndomain = \"apps.example.net\"\n",
        data.path()
    ));
    let server = Server::start(&Options {
        data: Some(data.path().to_owned()),
        more: vec![
            "--config".to_owned(),
            desk.file().to_str().unwrap().to_owned(),
        ],
        ..Options::serve()
    });
    let app = server.cloud().send(
        Request::post(format!(
            "/v1/accounts/{}/instances",
            server.cloud().account_id
        ))
        .json(&serde_json::json!({"name": "a", "serviceProviderId": "mar"})),
    );
    let id = app.must_be(201)["id"].as_str().unwrap().to_owned();
    let app = server
        .cloud()
        .send(Request::get(format!("/v1/apps/{id}")))
        .must_be(200);
    assert!(
        app["url"].as_str().unwrap().contains(".apps.example.net"),
        "{app}"
    );

    let health = server.ready["health"].as_str().unwrap();
    let health = health.strip_prefix("http://").unwrap().parse().unwrap();
    for (path, status, said) in [
        ("/healthz", 200, "alive"),
        ("/readyz", 200, "ready"),
        (
            "/v1/ping",
            404,
            "only /healthz, /readyz and /metrics are answered here",
        ),
    ] {
        let reply = Request::get(path).send(health).must_be(status);
        assert_eq!(reply["status"], said);
    }
    Request::post("/readyz").send(health).must_be(405);
    let metrics = Request::get("/metrics").send(health);
    assert_eq!(metrics.status, 200, "{metrics:?}");
    let numbers = metrics.text();
    assert!(numbers.contains("\npilvi_mws_sockets 0\n"), "{numbers}");
    server.stop();
}

#[test]
fn faults_stop_a_server_before_it_touches_anything() {
    let desk =
        Desk::with("htpp = \"127.0.0.1:0\"\nsmtp-url = 7\n[apps]\nboot-timeout = \"soon\"\n");
    let data = desk.0.path().join("data");
    let output = desk
        .command(&["serve", "--data", data.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = errors(&output);
    assert!(
        said.contains("line 1: `htpp` is not a setting; did you mean `http`?"),
        "{said}"
    );
    assert!(
        said.contains("line 4: `apps-boot-timeout` cannot be \"soon\""),
        "{said}"
    );
    assert!(!data.exists(), "nothing was made");
    assert_eq!(lines(&output), "");
}

#[test]
fn check_tells_all_and_shows_no_secret() {
    let desk = Desk::with(
        "http = \"127.0.0.1:8443\"\nsmtp-url = \"smtps://anna:hunter2@mail.example.org\"\nmail-from = \"nobody\"\n",
    );
    let (code, report) = desk.check(&[]);
    assert_eq!(code, 1);
    assert!(!report.to_string().contains("hunter2"), "{report}");
    let findings = report["findings"].as_array().unwrap();
    let of = |start: &str| {
        let mut found = findings.iter();
        found
            .find(|finding| finding["says"].as_str().unwrap().starts_with(start))
            .unwrap_or_else(|| panic!("nothing begins with {start:?} in {report:#}"))
    };
    assert_eq!(
        of("https: 127.0.0.1:8443 is taken by `http`")["weight"],
        "fault"
    );
    assert_eq!(
        of("everybody on this machine may read the secrets")["weight"],
        "warning"
    );

    // For people it is text, with the same outcome.
    let output = desk.command(&["config", "check"]).output().unwrap();
    let text = lines(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("smtp-url   ********"), "{text}");
    assert!(
        text.contains("before a server is started with this."),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn the_sample_is_a_file_that_is_fine() {
    let desk = Desk::with("");
    let words = [
        "config",
        "default",
        "--set",
        "data=/srv/pilvi",
        "--set",
        "own-name=cloud.example.com",
    ];
    let output = desk.command(&words).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    fs::write(desk.file(), &output.stdout).unwrap();
    let (code, report) = desk.check(&[]);
    assert_eq!(
        (code, &report["is_fine"]),
        (0, &Value::Bool(true)),
        "{report:#}"
    );
    let keys: Vec<_> = report["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["key"])
        .collect();
    assert_eq!(keys, ["data", "own-name"]);

    let output = desk
        .command(&["config", "default", "--set", "colour=red"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors(&output).contains("`colour` is not a setting"),
        "{}",
        errors(&output)
    );
}

#[test]
fn a_file_that_is_not_there_is_a_clear_sentence() {
    let desk = Desk::with("");
    fs::remove_file(desk.file()).unwrap();
    let output = desk.command(&["serve"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        errors(&output).contains("there is no such file"),
        "{}",
        errors(&output)
    );
    assert!(!Path::new(&desk.0.path().join(".local")).exists());
}
