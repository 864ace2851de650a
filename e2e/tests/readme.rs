//! What the documents and `pilvi demo` tell people to paste, pasted.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pilvi_e2e::paste;
use pilvi_e2e::process::{self, Process};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{api::text, skip};

/// The ports that `demo` takes unless it is told otherwise; the README's lines name them.
const DEFAULT_HTTP: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);
const DEFAULT_HTTPS: ([u8; 4], u16) = ([127, 0, 0, 1], 8443);

/// How long `demo` may take until it has printed its last line.
const PRINT_WITHIN: Duration = Duration::from_secs(60);

/// Marked blocks of the README run in one shell, in order, with what `demo` printed in the variables `ACCOUNT_ID`,
/// `TOKEN`, `BACKEND_ID`, `BACKEND_TOKEN`, `GATEWAY_ID`, `GATEWAY_TOKEN`, `APP_ID`, `APP_TOKEN` and `CA`.
#[test]
fn the_readme_works_as_written() {
    if !has_curl() || !is_free(DEFAULT_HTTP) || !is_free(DEFAULT_HTTPS) {
        return;
    }
    let readme =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))
            .unwrap();
    let blocks = paste::marked_blocks(&readme);
    assert!(
        !blocks.is_empty(),
        "the README marks no block with <!-- test: run -->"
    );

    let server = Server::start(&Options {
        http: DEFAULT_HTTP.into(),
        https: DEFAULT_HTTPS.into(),
        ..Options::demo()
    });
    let (cloud, backend, gateway) = (server.cloud(), server.backend(), server.gateway());
    paste::run(
        &blocks.join("\n"),
        &[
            ("ACCOUNT_ID", &cloud.account_id),
            ("TOKEN", &cloud.token),
            ("BACKEND_ID", &backend.id),
            ("BACKEND_TOKEN", &backend.token),
            ("GATEWAY_ID", &gateway.id),
            ("GATEWAY_TOKEN", &gateway.token),
            ("APP_ID", &text(&server.ready, "/app/id")),
            ("APP_TOKEN", &text(&server.ready, "/app/token")),
            ("CA", &text(&server.ready, "/ca")),
        ],
    );
    server.stop();
}

/// The same for the page about users and access lists, on a server that stays.
#[test]
fn the_page_about_people_works_as_written() {
    if !has_curl() {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/people.md");
    let blocks = paste::marked_blocks(&std::fs::read_to_string(page).unwrap());
    assert!(blocks.len() > 5, "the page marks its blocks");
    let server = Server::start(&Options::serve());
    let cloud = server.cloud();
    let variables = [
        ("pilvi", format!("http://{}", server.http)),
        ("account", cloud.account_id.clone()),
        ("token", cloud.token.clone()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    paste::run(&blocks.join("\n"), &variables);
    server.stop();
}

/// The same for the page about apps: a push, and everything that is said about what runs then.
#[test]
fn the_page_about_apps_works_as_written() {
    if !has_curl() {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/apps.md");
    let blocks = paste::marked_blocks(&std::fs::read_to_string(page).unwrap());
    assert!(blocks.len() > 4, "the page marks its blocks");
    let server = Server::start(&Options::serve());
    let programs = process::binary();
    let programs = programs.parent().unwrap().to_str().unwrap();
    let variables = [
        ("QTC_PLATFORM_URL", format!("http://{}/v1", server.http)),
        ("PILVI_TOKEN", server.cloud().token.clone()),
        ("host", server.http.to_string()),
        ("port", server.http.port().to_string()),
        ("programs", programs.to_owned()),
        ("GIT_AUTHOR_NAME", "A".to_owned()),
        ("GIT_AUTHOR_EMAIL", "a@example.org".to_owned()),
        ("GIT_COMMITTER_NAME", "A".to_owned()),
        ("GIT_COMMITTER_EMAIL", "a@example.org".to_owned()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let text = format!("PATH=\"$programs:$PATH\"\n{}", blocks.join("\n"));
    paste::run(&text, &variables);
    server.stop();
}

/// `demo` without `--json` talks to a person, and its last line says how to stop it.
#[test]
fn the_lines_that_demo_prints_work_when_pasted() {
    if !has_curl() {
        return;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let data = folder.path().to_str().unwrap();
    let arguments = [
        "demo",
        "--http",
        "127.0.0.1:0",
        "--https",
        "127.0.0.1:0",
        "--ssh",
        "127.0.0.1:0",
        "--data",
        data,
    ];
    let mut demo = Process::start(&arguments.map(str::to_owned));
    let mut printed = Vec::new();
    while !printed
        .last()
        .is_some_and(|line: &String| line.contains("Ctrl-C"))
    {
        printed.push(demo.next_line(PRINT_WITHIN));
    }
    let lines = paste::lines_to_paste(printed);
    assert!(!lines.is_empty(), "demo printed no line to paste");
    paste::run(&lines.join("\n"), &[]);
    demo.stop();
}

fn has_curl() -> bool {
    let found = Command::new("curl").arg("--version").output().is_ok();
    if !found {
        skip::report("curl is not installed");
    }
    found
}

fn is_free(address: ([u8; 4], u16)) -> bool {
    let address = SocketAddr::from(address);
    let free = TcpListener::bind(address).is_ok();
    if !free {
        skip::report(&format!("{address}, which the README names, is taken"));
    }
    free
}
