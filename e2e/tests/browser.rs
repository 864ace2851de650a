//! The demo's page in a real browser, and a page that lies in a file. What each script does is in `node/page_*.cjs` and
//! in `node/from_file.cjs`.

use std::path::Path;
use std::time::Duration;

use pilvi_e2e::chance::Chance;
use pilvi_e2e::child::Client;
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{browser, node};
use serde_json::json;

/// How long a script may take: it starts a browser, and others run beside it.
const DONE_WITHIN: Duration = Duration::from_secs(120);

#[test]
fn what_one_window_changes_the_other_shows() {
    let server = Server::demo();
    if let Some(script) = start("page_windows.cjs", &server, &[]) {
        assert_eq!(script.result(DONE_WITHIN), json!({"windows": 2}));
    }
    server.stop();
}

#[test]
fn a_list_that_arrives_late_brings_nothing_back() {
    let server = Server::demo();
    if let Some(script) = start("page_late_list.cjs", &server, &[]) {
        assert_eq!(script.result(DONE_WITHIN), json!({"lists": 3}));
    }
    server.stop();
}

#[test]
fn a_window_comes_back_after_its_socket_or_its_server_went() {
    let server = Server::demo();
    let address = server.http;
    let Some(mut script) = start("page_again.cjs", &server, &[]) else {
        return;
    };
    script.expect_line("stop the server", DONE_WITHIN);
    server.stop();
    script.say("stopped");
    script.expect_line("start another", DONE_WITHIN);
    let another = Server::start(&Options {
        http: address,
        ..Options::demo()
    });
    script.say("started");
    assert_eq!(script.result(DONE_WITHIN), json!({"connections": 3}));
    another.stop();
}

/// The pictures are left in `target/screenshots`, for people.
#[test]
fn the_page_fits_its_window_and_can_be_read() {
    let server = Server::demo();
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
    let pictures = pictures.to_str().expect("a target folder has a plain name");
    if let Some(script) = start("page_pictures.cjs", &server, &[("PICTURES", pictures)]) {
        assert_eq!(script.result(DONE_WITHIN), json!({"pictures": 12}));
    }
    server.stop();
}

#[test]
fn a_page_from_a_file_reads_every_reply() {
    let server = Server::demo();
    let backend = server.backend();
    let id = [("BACKEND_ID", &*backend.id)];
    if let Some(script) = start("from_file.cjs", &server, &id) {
        assert_eq!(script.result(DONE_WITHIN), json!({"refusals": 8}));
    }
    server.stop();
}

/// The page's own rules, without a browser.
#[test]
fn a_window_that_heard_everything_knows_what_the_server_knows() {
    if node::is_ready() {
        let seed = Chance::of_this_run().below(1 << 30).to_string();
        let result = node::run("page_list.cjs", &[("SEED", &seed)]);
        assert_eq!(result, json!({"rounds": 3000}));
    }
}

/// Starts a script with a browser, where there is one.
#[track_caller]
fn start(script: &str, server: &Server, more: &[(&str, &str)]) -> Option<Client> {
    let browser = browser::find()?;
    let browser = browser.to_str().expect("a program has a plain name");
    let gateway = server.gateway();
    let address = format!("http://{}", server.http);
    let mut variables = vec![
        ("ADDRESS", &*address),
        ("CHROMIUM", browser),
        ("GATEWAY_ID", &gateway.id),
        ("TOKEN", &gateway.token),
    ];
    variables.extend(more);
    Some(node::start(script, &variables))
}
