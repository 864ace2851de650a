//! What the Ruby command line reads of the answers about apps (`mar.md` §2), and what it needs to be there before.

use pilvi_e2e::api::text;
use pilvi_e2e::captures::Captured;
use pilvi_e2e::http::Request;
use pilvi_e2e::uploaded::{STARTED_WITHIN, Uploaded};
use pilvi_e2e::{shape, wait};
use serde_json::{Value, json};

use super::Replayed;

/// Brings the app to what a request expects.
#[track_caller]
pub(super) fn prepare(app: &Uploaded, captured: &Captured) {
    let path = captured.target.strip_prefix("/v1/apps/mar-eu-1-abcd1234");
    let path = path.map(|path| path.trim_end_matches('?'));
    match (captured.method.as_str(), path) {
        ("DELETE", Some("/domains/www.x.com")) | ("GET", Some("/domains")) => {
            let body = json!({"name": "www.x.com"});
            app.send(Request::post(app.path("/domains")).json(&body));
        }
        ("POST", Some("/domains")) => forget(app, "/domains/www.x.com"),
        ("DELETE", Some("/slugs/v1")) => app.add_slug("v1"),
        ("POST", Some("/slugs/v1/deploy")) => {
            app.run();
            app.add_slug("v1");
        }
        ("POST", Some("/slugs")) => {
            // The slug runs since it was deployed; another one takes over.
            app.deploy("after");
            forget(app, "/slugs/v1");
        }
        _ if captured.target.starts_with("/put/") => app.announce("v2"),
        (_, Some(_)) => app.run(),
        _ => {}
    }
}

fn forget(app: &Uploaded, path: &str) {
    app.send(Request::delete(app.path(path)));
}

pub(super) fn lists_apps(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    let apps = shape::results(&reply);
    assert!(
        apps.iter().any(|app| app["id"] == *replayed.world.app.id),
        "{reply}"
    );
    for app in apps {
        is_instance(app);
    }
}

/// The client matches the id by a pattern, takes the datacenter from it, and hides an app without an address for git.
fn is_instance(app: &Value) {
    let id = text(app, "/id");
    let own = id.strip_prefix("mar-eu-1-").unwrap_or_default();
    assert!(
        own.len() == 8 && own.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{id}"
    );
    assert!(id.len() <= 20, "`mar list` shows 20 characters: {id}");
    assert!(app["name"].is_string());
    assert!(app["tags"].is_array(), "null tags crash this client: {app}");
    assert!(text(app, "/config/MAR_GIT_ADDRESS").ends_with(&id));
    assert_eq!(
        app["serviceProvider"]["title"],
        "Managed Application Runtime"
    );
    assert_eq!(app["datacenterId"], "eu-1");
}

pub(super) fn creates_an_app_and_no_database(replayed: &Replayed<'_>) {
    if replayed.sent()["serviceProviderId"] == "mdb" {
        shape::invalid(&replayed.reply, "serviceProviderId");
        return;
    }
    let app = replayed.must_be(201);
    is_instance(&app);
    assert_eq!(
        (&app["name"], &app["config"]["runtimeSize"]),
        (&json!("my app"), &json!(2))
    );
}

/// Asked before nearly every command; a body of null would end the client.
pub(super) fn shows_the_instance(replayed: &Replayed<'_>) {
    let app = replayed.must_be(200);
    is_instance(&app);
    assert_eq!(app["id"], *replayed.world.app.id);
}

pub(super) fn lists_keys(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    for key in shape::results(&reply) {
        assert!(!key["id"].is_null() && key["name"].is_string(), "{key}");
    }
}

/// What was recorded is no key.
pub(super) fn refuses_the_key(replayed: &Replayed<'_>) {
    shape::invalid(&replayed.reply, "key");
}

/// The client asks whether `structure` has a type as a key, and shows the size by its number.
pub(super) fn shows(replayed: &Replayed<'_>) {
    let app = replayed.must_be(200);
    assert_eq!(app["id"], *replayed.world.app.id);
    assert!(app["name"].is_string() && app["state"].is_string() && app["type"].is_string());
    assert!(
        [1, 2, 4, 8].iter().any(|size| app["size"] == *size),
        "{app}"
    );
    let structure = app["structure"]
        .as_object()
        .expect("structure is an object");
    assert!(
        structure.contains_key("web") && structure.contains_key("worker"),
        "{app}"
    );
    assert_eq!(app["sslCertificate"], Value::Null);
}

pub(super) fn sets_the_stack(replayed: &Replayed<'_>) {
    assert_eq!(replayed.must_be(200)["stack"], "cedar");
}

pub(super) fn shows_the_status(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    let processes = reply["processes"]
        .as_array()
        .expect("processes is an array");
    assert_eq!(processes[0]["id"], "web.1");
}

/// A flat object of texts, with the stack among them.
fn are_vars(vars: &Value) {
    let vars = vars.as_object().expect("env_vars is an object");
    assert!(vars.values().all(Value::is_string), "{vars:?}");
    assert!(vars.contains_key("STACK"));
}

pub(super) fn lists_vars(replayed: &Replayed<'_>) {
    are_vars(&replayed.must_be(200));
}

pub(super) fn sets_vars(replayed: &Replayed<'_>) {
    replayed.must_be(200);
    let app = &replayed.world.app;
    let vars = app.send(Request::get(app.path("/env_vars"))).must_be(200);
    are_vars(&vars);
    assert_eq!((&vars["A"], &vars["C"]), (&json!("1"), &json!("x=y")));
    assert!(vars.get("B").is_none(), "null removes: {vars}");
    // The processes get them one after the other.
    wait::until("a release has the new config vars", STARTED_WITHIN, || {
        let releases = app.send(Request::get(app.path("/releases"))).must_be(200);
        let newest = &releases["results"][0];
        (newest["reason"] == "Set A, C" && newest["state"] == "current").then_some(())
    });
}

pub(super) fn scales(replayed: &Replayed<'_>) {
    replayed.must_be(200);
    let app = &replayed.world.app;
    let shown = app.send(Request::get(app.path(""))).must_be(200);
    assert_eq!(shown["structure"], json!({"web": 2, "worker": 1}));
    wait::until("three processes run", STARTED_WITHIN, || {
        let status = app.send(Request::get(app.path("/status"))).must_be(200);
        let processes = status["processes"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let runs = |process: &Value| process["state"] == "running";
        (processes.len() == 3 && processes.iter().all(runs)).then_some(())
    });
}

/// The client reads nothing but the status.
pub(super) fn is_done(replayed: &Replayed<'_>) {
    assert_eq!(replayed.must_be(200), json!({}));
}

pub(super) fn lists_lines(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    let lines = shape::results(&reply);
    assert!(!lines.is_empty() && lines.len() <= 100);
    for line in lines {
        assert!(line["log"].is_string(), "a null ends the client: {line}");
        assert!(line["time"].is_string());
    }
    let app = &replayed.world.app;
    wait::until(
        "the program's own line is in the log",
        STARTED_WITHIN,
        || {
            let path = app.path("/logs?stream=stdout");
            let reply = app.send(Request::get(path)).must_be(200);
            reply
                .to_string()
                .contains("listening on port ")
                .then_some(())
        },
    );
}

/// Both texts are printed one after the other, so neither may be null.
pub(super) fn runs_a_command(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    assert_eq!(reply["stderr"], "");
    assert!(text(&reply, "/stdout").contains("x.pl"), "{reply}");
    assert_eq!(reply["exitCode"], 0);
}

pub(super) fn lists_domains(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    assert!(
        shape::results(&reply)
            .iter()
            .any(|domain| domain["name"] == "www.x.com"),
        "{reply}"
    );
}

pub(super) fn adds_the_domain(replayed: &Replayed<'_>) {
    assert_eq!(replayed.must_be(201)["name"], "www.x.com");
}

/// What was recorded is neither a certificate nor a key.
pub(super) fn refuses_the_certificate(replayed: &Replayed<'_>) {
    shape::invalid(&replayed.reply, "certificateBody");
}

pub(super) fn finds_no_certificate(replayed: &Replayed<'_>) {
    shape::error(&replayed.reply, 404, "NotFound");
}

pub(super) fn lists_slugs(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(200);
    let slugs = shape::results(&reply);
    assert!(!slugs.is_empty());
    for slug in slugs {
        assert!(
            slug["tag"].is_string() && slug["createdAt"].is_string(),
            "{slug}"
        );
        assert!(slug.get("deployedAt").is_some(), "{slug}");
    }
}

pub(super) fn announces_the_slug(replayed: &Replayed<'_>) {
    let reply = replayed.must_be(201);
    assert_eq!(reply["tag"], "v1");
    let app = &replayed.world.app;
    app.keep_place(&reply);
    app.upload().must_be(200);
}

/// What was recorded is no slug. The client takes no notice of the answer; whoever deploys it is told.
pub(super) fn takes_a_slug(replayed: &Replayed<'_>) {
    shape::invalid(&replayed.reply, "slug");
    let app = &replayed.world.app;
    let deploy = || app.send(Request::post(app.path("/slugs/v2/deploy")).body("{}"));
    shape::invalid(&deploy(), "tag");
    app.upload().must_be(200);
    assert_eq!(deploy().must_be(200)["state"], "running");
}

pub(super) fn deploys_the_slug(replayed: &Replayed<'_>) {
    assert_eq!(replayed.must_be(200)["state"], "running");
    let app = &replayed.world.app;
    let reply = app.visit(None);
    assert_eq!((reply.status, reply.text().as_str()), (200, "hi"));
}
