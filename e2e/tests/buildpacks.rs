//! The built-in buildpacks: the example of each is pushed to a real server, and answers.

use std::path::Path;

use pilvi_e2e::app::{App, Source};
use pilvi_e2e::child::Ended;
use pilvi_e2e::http::{Reply, Request};
use pilvi_e2e::server::{Options, Server};
use pilvi_e2e::{packages, skip};

/// What git puts before every line of a server; and what the build log puts after it, to overwrite it on a terminal.
const REMOTE: &str = "remote: \x1b[1G";

/// A server whose apps may fetch packages.
#[track_caller]
fn server() -> Server {
    Server::start(&Options {
        more: packages::arguments(),
        ..Options::serve()
    })
}

/// Whether the stack of these tests has the programs; says what to install where it has not.
#[track_caller]
fn has(programs: &[&str], packages: &str) -> bool {
    // It is this machine's `/usr` without `/usr/local`, whatever else is on the search path.
    let is_there = |name: &&str| Path::new("/usr/bin").join(name).exists();
    let is_there = programs.iter().all(is_there);
    if !is_there {
        skip::report(&format!(
            "{} is needed: as root, run apt-get install {packages}",
            programs.join(" or ")
        ));
    }
    is_there
}

/// The log as it stands on a terminal.
#[track_caller]
fn log(pushed: &Ended) -> Vec<String> {
    pushed
        .errors
        .lines()
        .filter_map(|line| line.strip_prefix(REMOTE))
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// Expects these lines in this order, with others between them.
#[track_caller]
fn must_follow(log: &[String], expected: &[&str]) {
    let mut lines = log.iter();
    for wanted in expected {
        assert!(
            lines.any(|line| line == wanted),
            "{wanted:?} is not where it should be in {log:#?}"
        );
    }
}

#[track_caller]
fn get(server: &Server, app: &App, target: &str) -> Reply {
    Request::get(target)
        .header("Host", app.host())
        .header("Connection", "close")
        .send(server.http)
}

#[track_caller]
fn must_say(server: &Server, app: &App, text: &str) {
    let reply = get(server, app, "/");
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!(reply.status, 200, "{body}\n{}", app.log());
    assert!(body.contains(text), "{body}");
}

#[track_caller]
fn pushed(app: &App, source: &Source) -> Vec<String> {
    let ended = app.push(source);
    assert!(ended.status.success(), "{}", ended.report());
    log(&ended)
}

#[track_caller]
fn refused(app: &App, source: &Source) -> Vec<String> {
    let ended = app.push(source);
    assert!(!ended.status.success(), "{}", ended.report());
    let rejected = "! [remote rejected] HEAD -> master (pre-receive hook declined)";
    assert!(ended.errors.contains(rejected), "{}", ended.report());
    log(&ended)
}

#[test]
fn a_procfile_is_enough() {
    let Some(source) = Source::of_example("hello-procfile") else {
        return;
    };
    let server = server();
    let app = App::create(&server, "hello");
    let lines = pushed(&app, &source);
    let url = app.facts["url"].as_str().expect("an app has an address");
    let last = format!("       {} deployed to {url}", app.id);
    assert_eq!(
        lines,
        [
            "-----> Procfile app detected",
            "       Nothing to compile; the programs of the Procfile run as they were pushed",
            "-----> Discovering process types",
            "       Procfile declares types -> web, worker",
            "-----> Compiled slug size is 4.0K",
            "-----> Deploying app",
            "       Uploading app container .. done.",
            &last,
        ]
    );
    must_say(&server, &app, "Hello, world, from a Procfile");
    let shown = app.show();
    assert_eq!(shown["structure"]["web"], 1, "{shown}");
    assert_eq!(shown["structure"]["worker"], 0, "{shown}");
    server.stop();
}

#[test]
fn a_node_project_is_installed_by_its_lock_file() {
    if !has(&["node", "npm"], "nodejs npm") {
        return;
    }
    let Some(source) = Source::of_example("hello-node") else {
        return;
    };
    let server = server();
    let app = App::create(&server, "hello");
    let lines = pushed(&app, &source);
    must_follow(
        &lines,
        &[
            "-----> Node.js app detected",
            "-----> Installing packages",
            "       Installing packages by package-lock.json",
            "       No Procfile found; Adding npm start to new Procfile",
            "-----> Discovering process types",
            "       Procfile declares types -> web",
            "-----> Deploying app",
        ],
    );
    must_say(&server, &app, "Hello, world, from Node.js");
    // The dependency is there at run time.
    let reply = get(&server, &app, "/?name=%3Cb%3E");
    assert!(String::from_utf8_lossy(&reply.body).contains("Hello, &lt;b&gt;,"));

    source.write(
        "package.json",
        r#"{"name": "hello-node", "engines": {"node": "4.x"}, "scripts": {"start": "node server.js"}}"#,
    );
    let lines = refused(&app, &source);
    must_follow(
        &lines,
        &[" !     Change engines.node, or choose a stack that has it."],
    );
    must_say(&server, &app, "Hello, world, from Node.js");
    server.stop();
}

#[test]
fn a_python_project_gets_an_environment_of_its_own() {
    if !has(&["python3", "pip3"], "python3 python3-venv python3-pip") {
        return;
    }
    let Some(source) = Source::of_example("hello-python") else {
        return;
    };
    let server = server();
    let app = App::create(&server, "hello");
    let lines = pushed(&app, &source);
    must_follow(
        &lines,
        &[
            "-----> Python app detected",
            "-----> Installing packages",
            "       Installing packages by requirements.txt",
            "-----> Discovering process types",
            "       Procfile declares types -> web",
        ],
    );
    must_say(&server, &app, "Hello, world, from Python");
    source.write("extra.txt", "changed");
    let lines = pushed(&app, &source);
    must_follow(
        &lines,
        &["       requirements.txt is the same as at the last build; using its packages again"],
    );
    must_say(&server, &app, "Hello, world, from Python");
    source.write("runtime.txt", "python-2.7.18\n");
    let lines = refused(&app, &source);
    must_follow(
        &lines,
        &[" !     Change the file, or choose a stack that has it."],
    );
    server.stop();
}

#[test]
fn a_static_site_is_served_with_types_ranges_and_a_page_for_what_is_missing() {
    let Some(source) = Source::of_example("hello-static") else {
        return;
    };
    let server = server();
    let app = App::create(&server, "hello");
    let lines = pushed(&app, &source);
    must_follow(
        &lines,
        &[
            "-----> Static site app detected",
            "       Serving the files below .",
            "-----> Discovering process types",
            "       Default process types for Static site -> web",
        ],
    );
    must_say(&server, &app, "Hello, world, from a static site");
    for (target, status, content_type) in [
        ("/style/site.css", 200, "text/css; charset=utf-8"),
        ("/nothing", 404, "text/html; charset=utf-8"),
        ("/.static/serve.pl", 404, "text/html; charset=utf-8"),
        ("/.release", 404, "text/html; charset=utf-8"),
        ("/..%2f..%2fetc/passwd", 400, "text/plain; charset=utf-8"),
        (
            "/%2e%2e/%2e%2e/etc/passwd",
            400,
            "text/plain; charset=utf-8",
        ),
    ] {
        let reply = get(&server, &app, target);
        assert_eq!(reply.status, status, "{target}");
        assert_eq!(reply.header("Content-Type"), Some(content_type), "{target}");
    }
    let part = Request::get("/style/site.css")
        .header("Host", app.host())
        .header("Range", "bytes=3-4")
        .header("Connection", "close")
        .send(server.http);
    assert_eq!(part.status, 206);
    assert_eq!(part.body, b"{ ");
    server.stop();
}

#[test]
fn a_qmake_project_is_built_with_the_qt_that_it_asks_for() {
    if !has(
        &["g++", "make", "qmake6"],
        "g++ make qt5-qmake qtbase5-dev qt6-base-dev",
    ) {
        return;
    }
    let Some(source) = Source::of_example("hello-qt-qmake") else {
        return;
    };
    let server = server();
    let app = App::create(&server, "hello");
    let lines = pushed(&app, &source);
    must_follow(
        &lines,
        &[
            "-----> Qt app detected",
            "-----> Configuring with qmake",
            "-----> Compiling with make",
            "-----> Discovering process types",
            "       Procfile declares types -> web",
        ],
    );
    must_say(&server, &app, "Hello, world, from Qt 5.");

    // The next build only links what was compiled by the last one.
    source.write("README.md", "changed");
    let lines = pushed(&app, &source);
    assert!(
        !lines.iter().any(|line| line.contains("-o main.o")),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.contains("-o hello main.o")),
        "{lines:#?}"
    );

    app.set(&["QT_VERSION=5.4.1", "QMAKE_ARGS=CONFIG+=debug"]);
    source.write("README.md", "changed again");
    let lines = refused(&app, &source);
    must_follow(
        &lines,
        &[
            "-----> Qt app detected",
            "       Qt 5.4.1 not supported",
            " !     Write one of them into .qt_runtime or QT_VERSION, or remove both.",
            " !     The build failed at compiling with the Qt buildpack, with exit code 1.",
        ],
    );
    must_say(&server, &app, "Hello, world, from Qt 5.");

    // The file wins over the variable.
    source.write(".qt_runtime", "6\n");
    let lines = pushed(&app, &source);
    must_follow(&lines, &["-----> Configuring with qmake CONFIG+=debug"]);
    must_say(&server, &app, "Hello, world, from Qt 6.");
    server.stop();
}

#[test]
fn a_cmake_project_is_built_with_either_qt() {
    if !has(
        &["g++", "make", "cmake", "qmake6"],
        "g++ make cmake qt5-qmake qtbase5-dev qt6-base-dev",
    ) {
        return;
    }
    let Some(source) = Source::of_example("hello-qt-cmake") else {
        return;
    };
    let server = server();
    let app = App::create(&server, "hello");
    let lines = pushed(&app, &source);
    must_follow(
        &lines,
        &[
            "-----> Qt app detected",
            "-----> Configuring with cmake",
            "-----> Compiling with make",
            "-----> Discovering process types",
        ],
    );
    must_say(&server, &app, "Hello, world, from Qt 6.");
    source.write(".qt_runtime", "5");
    pushed(&app, &source);
    must_say(&server, &app, "Hello, world, from Qt 5.");
    server.stop();
}

#[test]
fn a_project_that_nobody_knows_is_refused_and_one_that_fails_changes_nothing() {
    let Some(source) = Source::of_example("hello-procfile") else {
        return;
    };
    let server = server();
    let app = App::create(&server, "hello");
    pushed(&app, &source);
    app.set(&["BUILDPACK_URL=https://127.0.0.1:1/nowhere"]);
    source.write("README.md", "changed");
    let lines = refused(&app, &source);
    assert_eq!(
        lines.first().map(String::as_str),
        Some("-----> Fetching custom buildpack")
    );
    let last = lines.last().expect("there is a log");
    assert!(
        last.starts_with(" !     Nothing was deployed. Release v"),
        "{last}"
    );
    must_say(&server, &app, "Hello, world, from a Procfile");

    app.set(&["BUILDPACK_URL="]);
    source.write("Procfile", "web: echo going down; exit 7");
    let lines = refused(&app, &source);
    must_follow(&lines, &["-----> Deploying app", " !     going down"]);
    must_say(&server, &app, "Hello, world, from a Procfile");
    server.stop();
}
