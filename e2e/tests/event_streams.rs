//! Event streams on the one-time URI, with clients that we did not write: npm `eventsource`, Python `sseclient-py`,
//! Chromium and curl; in the clear, over TLS, and over HTTP/2. What each script does is in `node/event_stream.cjs`,
//! `node/page_event_stream.cjs` and `python/event_stream.py`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use pilvi_e2e::api::{Gateway, text};
use pilvi_e2e::http::Request;
use pilvi_e2e::server::Server;
use pilvi_e2e::{browser, node, python, search_path, skip, wait};
use serde_json::{Value, json};

/// How long a script may take until the server may go.
const DONE_WITHIN: Duration = Duration::from_secs(60);

/// How long the server may take to see that somebody hung up.
const GONE_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn npm_eventsource_in_the_clear() {
    let server = Server::demo();
    let address = format!("http://{}", server.http);
    with_npm_eventsource(server, &address);
}

#[test]
fn npm_eventsource_over_tls() {
    let server = Server::demo();
    let address = format!("https://{}", server.https());
    with_npm_eventsource(server, &address);
}

#[track_caller]
fn with_npm_eventsource(server: Server, address: &str) {
    if !node::is_ready() {
        return;
    }
    let variables = variables(&server, address, &[]);
    let mut script = node::start("event_stream.cjs", &borrowed(&variables));
    script.expect_line("stop the server", DONE_WITHIN);
    server.stop();
    assert_eq!(script.result(DONE_WITHIN), json!({"texts": 7}));
}

#[test]
fn python_sseclient_in_the_clear_and_over_tls() {
    if !python::is_ready() {
        return;
    }
    let server = Server::demo();
    for address in [
        format!("http://{}", server.http),
        format!("https://{}", server.https()),
    ] {
        let variables = variables(&server, &address, &[]);
        let script = python::start("event_stream.py", &borrowed(&variables));
        assert_eq!(script.result(DONE_WITHIN), json!({"texts": 6}));
    }
    server.stop();
}

#[test]
fn chromium_over_http_1() {
    with_chromium("h1", 3, |server| format!("http://{}", server.http));
}

#[test]
fn chromium_over_http_2() {
    with_chromium("h2", 12, |server| format!("https://{}", server.https()));
}

#[track_caller]
fn with_chromium(protocol: &str, streams: usize, address: impl FnOnce(&Server) -> String) {
    let Some(chromium) = browser::find() else {
        return;
    };
    let server = Server::demo();
    let address = address(&server);
    let chromium = chromium.to_str().unwrap();
    let more = [("PROTOCOL", protocol), ("CHROMIUM", chromium)];
    let variables = variables(&server, &address, &more);
    let script = node::start("page_event_stream.cjs", &borrowed(&variables));
    assert_eq!(
        script.result(2 * DONE_WITHIN),
        json!({ "streams": streams })
    );
    server.stop();
}

/// What each script is told.
fn variables(server: &Server, address: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let gateway = server.gateway();
    let common = [
        ("ADDRESS", address),
        ("NODE_EXTRA_CA_CERTS", server.ca()),
        ("CA", server.ca()),
        ("GATEWAY_ID", &gateway.id),
        ("TOKEN", &gateway.token),
    ];
    let all = common.iter().chain(more);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn borrowed(variables: &[(String, String)]) -> Vec<(&str, &str)> {
    let variables = variables.iter();
    variables
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

#[test]
fn curl_over_http_1_and_http_2_and_under_tls() {
    if search_path::find("curl").is_none() {
        return skip::report("curl is not installed: as root, run apt-get install curl");
    }
    let server = Server::demo();
    let gateway = server.gateway();
    let plain = format!("http://{}", server.http);
    let secure = format!("https://{}", server.https());
    for (base, version) in [
        (&plain, "--http1.0"),
        (&plain, "--http1.1"),
        (&secure, "--http1.1"),
        (&secure, "--http2"),
    ] {
        let (id, target) = reserve(&gateway);
        let mut curl = Curl::start(&["--cacert", server.ca(), version, &format!("{base}{target}")]);
        assert_eq!(curl.block(), [":"], "{base} {version}");
        let mut ids = Vec::new();
        for number in 0..200 {
            tell(&gateway, &format!("{number}\n"));
            let block = curl.block();
            ids.push(block[0].strip_prefix("id: ").unwrap().to_owned());
            assert_eq!(block[1..], [format!("data: {number}"), "data: ".to_owned()]);
        }
        assert!(ids.is_sorted_by(|one, next| one < next));
        let socket = gateway.path(&format!("sockets/{id}"));
        gateway.send_as_admin(Request::delete(&socket)).must_be(200);
        assert_eq!(
            curl.block(),
            ["event: close", "data: {\"code\":1000,\"reason\":\"\"}"]
        );
        assert!(curl.child.wait().unwrap().success(), "{base} {version}");
        gateway.send_as_admin(Request::get(&socket)).must_be(404);
    }
    server.stop();
}

/// Who hangs up is gone at once, over HTTP/2 too, where the connection may stay.
#[test]
fn a_listener_who_hangs_up_leaves_the_list() {
    if search_path::find("curl").is_none() {
        return skip::report("curl is not installed: as root, run apt-get install curl");
    }
    let server = Server::demo();
    let gateway = server.gateway();
    let secure = format!("https://{}", server.https());
    for version in ["--http1.1", "--http2"] {
        let (id, target) = reserve(&gateway);
        let mut curl = Curl::start(&[
            "--cacert",
            server.ca(),
            version,
            &format!("{secure}{target}"),
        ]);
        assert_eq!(curl.block(), [":"]);
        let listed = || {
            gateway
                .send_as_admin(Request::get(gateway.path("sockets")))
                .must_be(200)
        };
        assert_eq!(listed()["results"][0]["id"], *id);
        curl.child.kill().unwrap();
        curl.child.wait().unwrap();
        wait::until("the listener to leave the list", GONE_WITHIN, || {
            (listed()["results"] == json!([])).then_some(())
        });
    }
    server.stop();
}

#[test]
fn a_browser_may_ask_first() {
    let server = Server::demo();
    let gateway = server.gateway();
    let (_, target) = reserve(&gateway);
    let preflight = Request::new("OPTIONS", target)
        .header("Origin", "https://a.example")
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "last-event-id");
    let reply = gateway.send(&preflight);
    assert_eq!(reply.status, 200);
    for (name, value) in [
        ("Access-Control-Allow-Origin", "https://a.example"),
        ("Access-Control-Allow-Headers", "last-event-id"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    server.stop();
}

/// A reservation: its id, and its address without scheme and host.
#[track_caller]
fn reserve(gateway: &Gateway) -> (String, String) {
    let made = gateway
        .send_as_admin(Request::post(gateway.path("sockets")).json(&json!({"tags": ["t"]})))
        .must_be(201);
    let uri = text(&made, "/uri");
    let target = uri.splitn(4, '/').nth(3).unwrap();
    (text(&made, "/id").to_owned(), format!("/{target}"))
}

#[track_caller]
fn tell(gateway: &Gateway, data: &str) -> Value {
    let message = json!({"data": data, "receivers": {"sockets": null, "tags": ["t"]}});
    gateway
        .send_as_admin(Request::post(gateway.path("messages")).json(&message))
        .must_be(201)
}

/// curl on an event stream.
struct Curl {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Curl {
    #[track_caller]
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--no-buffer",
                "--fail",
                "--max-time",
                "60",
            ])
            .args(["--header", "Accept: text/event-stream"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        Self {
            child,
            lines: BufReader::new(output).lines(),
        }
    }

    /// The lines of the next block.
    #[track_caller]
    fn block(&mut self) -> Vec<String> {
        let lines = self.lines.by_ref().map(|line| line.expect("curl goes on"));
        lines.take_while(|line| !line.is_empty()).collect()
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
