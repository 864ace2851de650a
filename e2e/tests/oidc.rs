//! Single sign-on with published providers of OpenID Connect, in a real browser. What the browser does is in
//! `node/page_sign_on.cjs`; the providers are in `node/oidc_provider.cjs`.

use std::path::Path;
use std::time::Duration;

use pilvi_e2e::child::Client;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{browser, node};
use serde_json::{Value, json};

/// How long a script may take: it starts a browser, and others run beside it.
const DONE_WITHIN: Duration = Duration::from_secs(180);
const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// It has characters that must be escaped on the way to the provider.
const SECRET: &str = "s3cret+/%:&=~secret";
/// The address of the first person, which somebody else claims at a provider.
const OPERATOR: &str = "operator@localhost";
const PASSWORD: &str = "a long enough password";

#[test]
fn people_sign_in_with_accounts_at_published_providers() {
    let Some(browser) = browser::find() else {
        return;
    };
    let (server, _providers) = start();
    let token = text(&server.ready, "/token");
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
    let body = json!({"password": PASSWORD});
    let request = Request::put("/v1/user").bearer(token).json(&body);
    request.send(server.http).must_be(200);

    let script = node::start(
        "page_sign_on.cjs",
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
            ("VICTIM", OPERATOR),
            ("PASSWORD", PASSWORD),
        ],
    );
    assert_eq!(script.result(DONE_WITHIN), json!({"signedOn": 8}));
    for secret in [SECRET, PASSWORD, "id_token", "eyJ", "code=", "state="] {
        assert!(!server.log().contains(secret), "{secret} is in the log");
    }
    server.stop();
}

#[test]
fn a_provider_that_is_away_is_said_to_be_on_a_page() {
    // Whoever had this port gave it back, and nobody listens there.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.expect("a loopback port can be had").port();
    let options = |issuer: String| Options {
        more: vec![
            format!("--oidc-issuer={issuer}"),
            "--oidc-client-id=pilvi".to_owned(),
            "--oidc-name=Example".to_owned(),
        ],
        ..Options::serve()
    };
    let server = Server::start(&options(format!("http://127.0.0.1:{port}")));
    let sign_in = Request::get("/console/sign-in").send(server.http);
    assert!(sign_in.text().contains("Sign in with Example"));
    let reply = Request::get("/console/oidc/example").send(server.http);
    assert_eq!(reply.status, 503);
    let page = reply.text();
    assert!(
        page.contains("Example does not answer at the moment"),
        "{page}"
    );
    assert!(
        reply
            .header("Content-Type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
    assert_eq!(
        Request::get("/console/oidc/other").send(server.http).status,
        404
    );
    server.stop();
}

/// A server, and the providers that it signs people in by.
fn start() -> (Server, Client) {
    let variables = [("VICTIM", OPERATOR), ("SECRET", SECRET)];
    let mut providers = node::start("oidc_provider.cjs", &variables);
    let list = providers.next_line(STARTED_WITHIN);
    let list: Vec<Value> = serde_json::from_str(&list).expect("the first line is a list");
    let mut more = vec!["--registration=open".to_owned()];
    for provider in &list {
        more.extend([
            format!("--oidc-issuer={}", text(provider, "/issuer")),
            format!("--oidc-client-secret={}", text(provider, "/secret")),
            format!("--oidc-name={}", text(provider, "/name")),
            "--oidc-client-id=pilvi".to_owned(),
        ]);
    }
    let server = Server::start(&Options {
        more,
        ..Options::serve()
    });
    providers.say(&format!("http://{}", server.http));
    providers.expect_line("ready", STARTED_WITHIN);
    (server, providers)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("there is no text at {pointer}: {value}"))
}
