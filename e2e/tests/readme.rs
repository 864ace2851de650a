//! What the documents and `pilvi demo` tell people to paste, pasted.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pilvi_e2e::paste;
use pilvi_e2e::process::{self, Process};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::single::{self, Single};
use pilvi_e2e::{api::text, receiver, skip};

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
        &with_programs(&blocks),
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
            ("programs", &programs()),
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
    let variables = [
        ("QTC_PLATFORM_URL", format!("http://{}/v1", server.http)),
        ("PILVI_TOKEN", server.cloud().token.clone()),
        ("host", server.http.to_string()),
        ("port", server.http.port().to_string()),
        ("programs", programs()),
        ("GIT_AUTHOR_NAME", "A".to_owned()),
        ("GIT_AUTHOR_EMAIL", "a@example.org".to_owned()),
        ("GIT_COMMITTER_NAME", "A".to_owned()),
        ("GIT_COMMITTER_EMAIL", "a@example.org".to_owned()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    paste::run(&with_programs(&blocks), &variables);
    server.stop();
}

/// The same for the page about data backends and gateways on the command line.
#[test]
fn the_page_about_data_and_sockets_works_as_written() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/data-and-sockets.md");
    let blocks = paste::marked_blocks(&std::fs::read_to_string(page).unwrap());
    assert!(blocks.len() > 8, "the page marks its blocks");
    let server = Server::start(&Options::serve());
    let variables = [
        ("QTC_PLATFORM_URL", format!("http://{}/v1", server.http)),
        ("PILVI_TOKEN", server.cloud().token.clone()),
        ("programs", programs()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    paste::run(&with_programs(&blocks), &variables);
    server.stop();
}

/// The same for the page about gateways, whose app listens on a port of the reader's.
#[test]
fn the_page_about_sockets_works_as_written() {
    if !has_curl() || !has_python() {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sockets.md");
    let blocks = paste::marked_blocks(&std::fs::read_to_string(page).unwrap());
    assert!(blocks.len() > 8, "the page marks its blocks");
    let port = receiver::nobody().port().to_string();
    let text = with_programs(&blocks);
    let (address, app) = ("http://127.0.0.1:9000/", "app.py 9000 ");
    assert!(text.contains(address) && text.contains(app));
    // What is left running when a line fails would keep the shell's output open.
    let text = format!("trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n{text}")
        .replace(address, &address.replace("9000", &port))
        .replace(app, &app.replace("9000", &port));
    let server = Server::start(&Options::serve());
    let variables = [
        ("QTC_PLATFORM_URL", format!("http://{}/v1", server.http)),
        ("PILVI_TOKEN", server.cloud().token.clone()),
        ("pilvi", format!("http://{}", server.http)),
        ("programs", programs()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    paste::run(&text, &variables);
    server.stop();
}

/// The same for the page about the gateway that runs alone.
#[test]
fn the_page_about_a_single_gateway_works_as_written() {
    if !has_curl() {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/single-gateway.md");
    let blocks = paste::marked_blocks(&std::fs::read_to_string(page).unwrap());
    assert!(!blocks.is_empty(), "the page marks its blocks");
    let gateway = Single::start(&[]);
    let address = format!("http://{}", gateway.http);
    let printed = paste::run(
        &blocks.join("\n"),
        &[("gateway", &address), ("SECURITY_TOKEN", single::TOKEN)],
    );
    assert!(printed.contains(r#"{"name":"MWS"}"#), "{printed}");
    gateway.stop();
}

/// The same for the page about searching.
#[test]
fn the_page_about_search_works_as_written() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/search.md");
    let blocks = paste::marked_blocks(&std::fs::read_to_string(page).unwrap());
    assert!(blocks.len() > 2, "the page marks its blocks");
    let server = Server::start(&Options::serve());
    let variables = [
        ("QTC_PLATFORM_URL", format!("http://{}/v1", server.http)),
        ("PILVI_TOKEN", server.cloud().token.clone()),
        ("programs", programs()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    paste::run(&with_programs(&blocks), &variables);
    server.stop();
}

/// The same for the page about files.
#[test]
fn the_page_about_files_works_as_written() {
    if !has_curl() {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/files.md");
    let blocks = paste::marked_blocks(&std::fs::read_to_string(page).unwrap());
    assert!(blocks.len() > 1, "the page marks its blocks");
    let server = Server::start(&Options::serve());
    let backend = server.cloud().create_backend("shop");
    let variables = [
        ("pilvi", format!("http://{}", server.http)),
        ("backend", backend.id.clone()),
        ("token", backend.token.clone()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    paste::run(&blocks.join("\n"), &variables);
    server.stop();
}

/// The same for the pages about exports and indexes, whose lines are for the command line and a backend named `shop`.
#[test]
fn the_pages_about_exports_and_indexes_work_as_written() {
    for page in ["export-format.md", "indexes.md"] {
        let page = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs")
            .join(page);
        let blocks = paste::marked_blocks(&std::fs::read_to_string(page).unwrap());
        assert!(!blocks.is_empty(), "the page marks its blocks");
        let server = Server::start(&Options::serve());
        let backend = server.cloud().create_backend("shop");
        let variables = [
            ("QTC_PLATFORM_URL", format!("http://{}/v1", server.http)),
            ("PILVI_TOKEN", server.cloud().token.clone()),
            ("BACKEND_ID", backend.id.clone()),
            ("programs", programs()),
        ];
        let variables = variables
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        paste::run(&with_programs(&blocks), &variables);
        server.stop();
    }
}

/// The same for the page about signing in: the operator's first minutes.
#[test]
fn the_page_about_signing_in_works_as_written() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sign-in.md");
    let blocks = paste::marked_blocks(&std::fs::read_to_string(page).unwrap());
    assert!(blocks.len() > 1, "the page marks its blocks");
    let server = Server::start(&Options::serve());
    let variables = [
        ("QTC_PLATFORM_URL", format!("http://{}/v1", server.http)),
        ("TOKEN", server.cloud().token.clone()),
        ("programs", programs()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let printed = paste::run(&with_programs(&blocks), &variables);
    assert!(printed.contains("aino@example.org"), "{printed}");
    server.stop();
}

/// The same for the page about backups, whose lines name an instance and folders of the reader's.
#[test]
fn the_page_about_backups_works_as_written() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/backup.md");
    let blocks = paste::marked_blocks(&std::fs::read_to_string(page).unwrap());
    assert!(blocks.len() > 1, "the page marks its blocks");
    let folder = tempfile::TempDir::new().unwrap();
    let (data, restored) = (folder.path().join("data"), folder.path().join("restored"));
    let at = |data: &Path| Options {
        data: Some(data.to_owned()),
        ..Options::serve()
    };
    let server = Server::start(&at(&data));
    let token = server.cloud().token.clone();
    let variables = [
        ("QTC_PLATFORM_URL", format!("http://{}/v1", server.http)),
        ("PILVI_TOKEN", token.clone()),
        ("KEY", data.join("secret.key").to_str().unwrap().into()),
        ("RESTORED", restored.to_str().unwrap().into()),
        ("programs", programs()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let make = r#"ID=$(pilvi eds create notes --json | sed -n 's/^  "id": "\(.*\)",*$/\1/p')"#;
    let mut text = with_programs(&[&[make.to_owned()], &blocks[..]].concat());
    for (written, meant) in [
        ("/srv/pilvi --key secret.key", "$RESTORED --key $KEY"),
        // This one is started below.
        ("pilvi serve --data /srv/pilvi", "test -d $RESTORED"),
        ("--instance ID", "--instance $ID"),
        // The page names three ways, each of which is there for another case.
        (
            "pilvi backup restore one.tar --same-id",
            "pilvi instances remove $ID --yes --now; pilvi backup restore one.tar --same-id",
        ),
        ("one.tar --in-place", "one.tar --in-place --yes"),
    ] {
        assert!(text.contains(written), "{written}");
        text = text.replace(written, meant);
    }
    paste::run(&text, &variables);
    server.stop();
    let server = Server::start(&at(&restored));
    let url = format!("http://{}/v1", server.http);
    let variables = [
        ("QTC_PLATFORM_URL", &*url),
        ("PILVI_TOKEN", &*token),
        ("programs", &*programs()),
    ];
    let said = paste::run(&with_programs(&["pilvi eds list".into()]), &variables);
    assert!(said.contains("notes"), "{said}");
    server.stop();
}

/// What `serve` and `demo` say about signing in, done.
#[test]
fn the_first_start_says_how_to_sign_in() {
    for command in ["serve", "demo"] {
        let folder = tempfile::TempDir::new().unwrap();
        let (server, printed) = start_for_a_person(command, folder.path());
        let find = |start: &str| {
            let line = printed.iter().map(|line| line.trim());
            let line = line.clone().find(|line| line.starts_with(start));
            line.unwrap_or_else(|| panic!("{command} prints no line {start}"))
        };
        let token = find("token").split_whitespace().last().unwrap();
        let text = format!(
            "PATH=\"$programs:$PATH\"\necho {token} | {}\nprintf '\\n%s\\n' 'ten or more letters' | {}\npilvi whoami",
            find("pilvi login"),
            find("pilvi profile"),
        );
        let said = paste::run(&text, &[("programs", &programs())]);
        assert!(said.contains("you@example.org"), "{said}");
        server.stop();
    }
}

/// `demo` without `--json` talks to a person, and its last line says how to stop it.
#[test]
fn the_lines_that_demo_prints_work_when_pasted() {
    if !has_curl() {
        return;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let (demo, printed) = start_for_a_person("demo", folder.path());
    let lines = paste::lines_to_paste(printed);
    assert!(!lines.is_empty(), "demo printed no line to paste");
    paste::run(&lines.join("\n"), &[]);
    demo.stop();
}

/// Starts a server that talks to a person, and reads what it prints down to how to stop it.
fn start_for_a_person(command: &str, data: &Path) -> (Process, Vec<String>) {
    let any = "127.0.0.1:0";
    let data = data.to_str().expect("a temporary folder has a plain name");
    let arguments = [
        command, "--http", any, "--https", any, "--ssh", any, "--data", data,
    ];
    let mut server = Process::start(&arguments.map(str::to_owned));
    let mut printed = Vec::new();
    while !printed
        .last()
        .is_some_and(|line: &String| line.contains("Ctrl-C"))
    {
        printed.push(server.next_line(PRINT_WITHIN));
    }
    (server, printed)
}

/// The folder that `pilvi` is in.
fn programs() -> String {
    let binary = process::binary();
    let folder = binary.parent().expect("a program is in a folder");
    folder.to_str().expect("its name is text").to_owned()
}

/// The blocks of a page as one text for a shell that finds `pilvi`.
fn with_programs(blocks: &[String]) -> String {
    format!("PATH=\"$programs:$PATH\"\n{}", blocks.join("\n"))
}

fn has_curl() -> bool {
    let found = Command::new("curl").arg("--version").output().is_ok();
    if !found {
        skip::report("curl is not installed");
    }
    found
}

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok();
    if !found {
        skip::report("python3 is not installed");
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
