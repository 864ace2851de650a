//! Programs sign in through somebody's browser. The browser's part is in `node/page_device.cjs`.

use std::path::Path;
use std::time::Duration;

use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::server::Server;
use pilvi_e2e::{browser, node};
use serde_json::{Value, json};

/// How long a step of the script may take: it starts a browser, and others run beside it.
const STEP_WITHIN: Duration = Duration::from_secs(120);

const EMAIL: &str = "operator@localhost";
const PASSWORD: &str = "a long enough password";

#[test]
fn a_person_decides_in_a_browser_which_programs_sign_in_as_them() {
    let Some(browser) = browser::find() else {
        return;
    };
    let server = Server::serve();
    let cloud = server.cloud();
    let password = Request::put("/v1/user").json(&json!({"password": PASSWORD}));
    cloud.send(password).must_be(200);
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
    let mut script = node::start(
        "page_device.cjs",
        &[
            ("ADDRESS", &format!("http://{}", server.http)),
            (
                "CHROMIUM",
                browser.to_str().expect("a program has a plain name"),
            ),
            (
                "PICTURES",
                pictures.to_str().expect("a target folder has a plain name"),
            ),
            ("EMAIL", EMAIL),
            ("PASSWORD", PASSWORD),
        ],
    );

    script.expect_line("begin", STEP_WITHIN);
    let first = Program::begin(&server, "pilvi on anvil");
    script.say(&first.introduction());
    script.expect_line("looked at", STEP_WITHIN);
    assert_eq!(reason(&first.poll(&server)), "AuthorizationPending");
    script.say(&first.introduction());

    script.expect_line("approved", STEP_WITHIN);
    // This program has polled already, and must not hurry.
    assert_eq!(reason(&first.poll(&server)), "SlowDown");
    let second = Program::begin(&server, "Ünïcode <b>client</b>");
    script.say(&second.introduction());
    script.expect_line("denied", STEP_WITHIN);
    assert_eq!(reason(&second.poll(&server)), "AccessDenied");
    let third = Program::begin(&server, &"x".repeat(100));
    script.say(&third.introduction());
    assert_eq!(script.result(STEP_WITHIN), json!({"decided": 2}));
    assert_eq!(reason(&third.poll(&server)), "AuthorizationPending");

    for secret in [&first, &second, &third].map(|program| program.secret()) {
        assert!(!server.log().contains(secret), "a code is in the log");
    }
    server.stop();
}

/// The decision outlives the server: it may be restarted while somebody thinks.
#[test]
fn a_sign_in_that_waits_survives_a_restart() {
    let data = tempfile::tempdir().expect("a temporary folder can be made");
    let options = || pilvi_e2e::server::Options {
        data: Some(data.path().to_owned()),
        ..pilvi_e2e::server::Options::serve()
    };
    let server = Server::start(&options());
    let program = Program::begin(&server, "pilvi on anvil");
    assert_eq!(reason(&program.poll(&server)), "AuthorizationPending");
    server.kill();
    let server = Server::start(&options());
    assert_eq!(reason(&program.poll(&server)), "AuthorizationPending");
    assert_eq!(reason(&program.poll(&server)), "SlowDown");
    server.stop();
}

/// A program that signs in.
struct Program(Value, String);

impl Program {
    #[track_caller]
    fn begin(server: &Server, client: &str) -> Self {
        let request = Request::post("/v1/device_codes").json(&json!({"client": client}));
        let begun = request.send(server.http).must_be(201);
        Self(begun, client.to_owned())
    }

    #[track_caller]
    fn text(&self, name: &str) -> &str {
        let text = self.0[name].as_str();
        text.unwrap_or_else(|| panic!("there is no {name}: {}", self.0))
    }

    fn secret(&self) -> &str {
        self.text("device_code")
    }

    /// What the person gets to see of it.
    fn introduction(&self) -> String {
        let complete = self.text("verification_uri_complete");
        json!({"complete": complete, "code": self.text("user_code"), "client": self.1}).to_string()
    }

    #[track_caller]
    fn poll(&self, server: &Server) -> Reply {
        let body = json!({"device_code": self.secret()});
        Request::post("/v1/device_codes/token")
            .json(&body)
            .send(server.http)
    }
}

#[track_caller]
fn reason(reply: &Reply) -> String {
    let body = reply.must_be(400);
    let reason = body["error"]["reason"].as_str();
    reason
        .unwrap_or_else(|| panic!("there is no reason: {body}"))
        .to_owned()
}
