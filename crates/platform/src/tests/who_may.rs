//! Every route × every kind of caller.

use std::path::Path;

use axum::body::Body;
use http::Request;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};

use pilvi_base::Secret;
use pilvi_store::platform::Role;

use super::{World, error};

const DEVELOPERS_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH4A6gb3m/D8UwcAsXQZxAEUROYiJOd0SiWTu6lLlAJT";
const VIEWERS_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN0yWVUC7f7WLbZPSaPXiW0vyR2OssAJaXJAFzBIfjzO";

/// What a route needs of its caller, by the ids in its path.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Needs {
    /// Nothing at all.
    Nothing,
    /// What comes with the request, such as a code; a token makes no difference.
    ItsOwn,
    /// A personal access token, or any account token.
    Anybody,
    /// A personal access token; no id in the path is anybody's.
    Person,
    /// The personal access token of somebody who looks after the server.
    Operator,
    /// The personal access token of somebody who may change one of their accounts; no id in the path is anybody's.
    Maker,
    /// To read the account or instance in the path.
    Reader,
    /// To be a member of the account in the path: it is about what is the member's own.
    Member,
    /// To change the account or instance in the path, or to read what opens it.
    Developer,
    /// To own the account in the path.
    Owner,
}

const QUOTAS: &str = "/v1/accounts/{id}/quotas";

const ROUTES: &[(&str, &str, Needs)] = &[
    ("GET", "/v1/user", Needs::Person),
    ("PUT", "/v1/user", Needs::Person),
    ("PUT", "/v1/user/password", Needs::Person),
    ("POST", "/v1/user/sign_up", Needs::ItsOwn),
    ("POST", "/v1/user/verify", Needs::ItsOwn),
    ("POST", "/v1/user/sign_in", Needs::ItsOwn),
    ("POST", "/v1/user/forgot_password", Needs::ItsOwn),
    ("POST", "/v1/user/reset_password", Needs::ItsOwn),
    ("POST", "/v1/device_codes", Needs::ItsOwn),
    ("POST", "/v1/device_codes/token", Needs::ItsOwn),
    ("GET", "/v1/user/accounts", Needs::Person),
    ("GET", "/v1/user/invitations", Needs::Person),
    ("POST", "/v1/user/invitations", Needs::Person),
    ("POST", "/v1/user/invitations/{invitation}", Needs::Person),
    ("DELETE", "/v1/user/invitations/{invitation}", Needs::Person),
    ("GET", "/v1/authorizations", Needs::Person),
    ("POST", "/v1/authorizations", Needs::Person),
    ("DELETE", "/v1/authorizations/{token}", Needs::Person),
    ("GET", "/v1/user/ssh_keys", Needs::Person),
    ("POST", "/v1/user/ssh_keys", Needs::Person),
    ("DELETE", "/v1/user/ssh_keys/{key}", Needs::Person),
    ("POST", "/v1/accounts", Needs::Person),
    ("GET", "/v1/accounts/{id}", Needs::Reader),
    ("PUT", "/v1/accounts/{id}", Needs::Owner),
    ("DELETE", "/v1/accounts/{id}", Needs::Owner),
    ("GET", "/v1/accounts/{id}/log", Needs::Reader),
    ("GET", "/v1/accounts/{id}/usage", Needs::Reader),
    // An operator may both, of every account; the owner of the first account is one.
    ("GET", QUOTAS, Needs::Reader),
    ("PUT", QUOTAS, Needs::Owner),
    ("GET", "/v1/accounts/{id}/members", Needs::Member),
    ("PUT", "/v1/accounts/{id}/members/{person}", Needs::Owner),
    ("DELETE", "/v1/accounts/{id}/members/{person}", Needs::Owner),
    ("GET", "/v1/accounts/{id}/invitations", Needs::Owner),
    ("POST", "/v1/accounts/{id}/invitations", Needs::Owner),
    (
        "DELETE",
        "/v1/accounts/{id}/invitations/{invitation}",
        Needs::Owner,
    ),
    ("GET", "/v1/accounts/{id}/authorizations", Needs::Member),
    ("POST", "/v1/accounts/{id}/authorizations", Needs::Member),
    (
        "DELETE",
        "/v1/accounts/{id}/authorizations/{token}",
        Needs::Member,
    ),
    ("GET", "/v1/accounts/{id}/instances", Needs::Reader),
    ("POST", "/v1/accounts/{id}/instances", Needs::Developer),
    (
        "POST",
        "/v1/accounts/{id}/instances/restore",
        Needs::Developer,
    ),
    ("GET", "/v1/instances/{id}", Needs::Reader),
    ("PUT", "/v1/instances/{id}", Needs::Developer),
    ("DELETE", "/v1/instances/{id}", Needs::Developer),
    ("POST", "/v1/instances/{id}/restore", Needs::Developer),
    ("GET", "/v1/instances/{id}/backup", Needs::Developer),
    ("GET", "/v1/instances/{id}/usage", Needs::Reader),
    ("GET", "/v1/instances/{id}/authorizations", Needs::Developer),
    (
        "POST",
        "/v1/instances/{id}/authorizations",
        Needs::Developer,
    ),
    (
        "DELETE",
        "/v1/instances/{id}/authorizations/{token}",
        Needs::Developer,
    ),
    ("GET", "/v1/server/backup", Needs::Operator),
    ("GET", "/v1/server/log", Needs::Operator),
    ("POST", "/v1/account/auth/oauth2/token", Needs::ItsOwn),
    ("POST", "/v1/account/auth/oauth2/revoke", Needs::ItsOwn),
    ("POST", "/v1/account/auth/identity", Needs::ItsOwn),
    ("GET", "/v1/account/apps", Needs::Person),
    ("POST", "/v1/account/apps", Needs::Maker),
    ("GET", "/v1/account/apps/{id}", Needs::Developer),
    ("DELETE", "/v1/account/apps/{id}", Needs::Developer),
    ("GET", "/v1/datacenters", Needs::Anybody),
    ("GET", "/v1/ping", Needs::Nothing),
];

/// What those hear who may, when it is not a success: the account has an instance, the instance is not deleted,
/// and what a path names beside them is nobody's.
fn to_those_who_may(method: &str, route: &str) -> u16 {
    match (method, route) {
        ("DELETE", "/v1/accounts/{id}") | ("POST", "/v1/instances/{id}/restore") => 409,
        // None of the words in the body is that of a quota.
        ("PUT", QUOTAS) => 422,
        // This world makes no copies.
        ("POST", "/v1/accounts/{id}/instances/restore")
        | ("GET", "/v1/server/backup" | "/v1/instances/{id}/backup") => 503,
        ("POST", "/v1/user/invitations") => 404,
        _ if ["{token}", "{key}", "{person}", "{invitation}"]
            .iter()
            .any(|end| route.ends_with(end)) =>
        {
            404
        }
        _ => 200,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bearer {
    Owner,
    Developer,
    Viewer,
    OwnAccountToken,
    ViewersAccountToken,
    InstanceToken,
    Stranger,
    ForeignAccountToken,
    UnknownToken,
    EmptyToken,
    NoHeader,
}

/// The status; 200: they may.
fn expected(needs: Needs, bearer: Bearer) -> u16 {
    use Bearer as B;
    match (needs, bearer) {
        (Needs::Nothing | Needs::ItsOwn, _) => 200,
        (_, B::UnknownToken | B::EmptyToken | B::NoHeader) => 401,
        (_, B::InstanceToken) => 403,
        (Needs::Anybody, _) => 200,
        (
            Needs::Person | Needs::Operator | Needs::Maker,
            B::OwnAccountToken | B::ViewersAccountToken | B::ForeignAccountToken,
        ) => 403,
        // The owner of the first account is the operator.
        (Needs::Operator, B::Developer | B::Viewer | B::Stranger) => 403,
        (Needs::Maker, B::Viewer) => 403,
        (Needs::Person | Needs::Operator | Needs::Maker, _) => 200,
        (_, B::Stranger | B::ForeignAccountToken) => 404,
        (Needs::Reader, _) => 200,
        (_, B::OwnAccountToken | B::ViewersAccountToken) => 403,
        (Needs::Developer | Needs::Owner, B::Viewer) => 403,
        (Needs::Owner, B::Developer) => 403,
        (Needs::Member | Needs::Developer | Needs::Owner, _) => 200,
    }
}

/// One body for all routes: each takes of it what it knows.
fn body(bearer: Bearer) -> Value {
    // A key belongs to one person.
    let key = match bearer {
        Bearer::Stranger => super::ssh_keys::OTHER_KEY,
        Bearer::Developer => DEVELOPERS_KEY,
        Bearer::Viewer => VIEWERS_KEY,
        _ => super::ssh_keys::KEY,
    };
    json!({
        "name": "n",
        "serviceProviderId": "eds",
        "key": key,
        "role": "viewer",
        "code": "0123456789abcdef",
        "password": "a password that is long enough",
    })
}

fn is_of_an_instance(route: &str) -> bool {
    route.starts_with("/v1/instances/") || route.starts_with("/v1/account/apps/")
}

fn path_of(route: &str, id: &str) -> String {
    let nobody = "46738209-a745-4841-8eeb-1ca0672aa6b8";
    route
        .replace("{id}", id)
        .replace("{token}", "999999")
        .replace("{key}", "999999")
        .replace("{invitation}", "999999")
        .replace("{person}", nobody)
}

#[tokio::test]
async fn every_route_answers_every_kind_of_caller_as_it_should() {
    for &(method, route, needs) in ROUTES {
        // A world for each route: some of them delete what the next caller would ask for.
        let world = World::new().await;
        let neighbour = world.add_neighbour().await;
        let instance = world.add_instance("eds").await.id;
        let own = world
            .get(&world.account_path("/authorizations"))
            .await
            .first_token();
        let (viewer, viewers) = world.add_member(Role::Viewer).await;
        let (developer, _) = world.add_member(Role::Developer).await;
        let path = format!("/v1/instances/{instance}/authorizations");
        let security = world.get(&path).await.first_token();
        let id = if is_of_an_instance(route) {
            instance
        } else {
            world.account.to_string()
        };
        let path = path_of(route, &id);

        let mut without = None;
        for bearer in [
            Bearer::NoHeader,
            Bearer::EmptyToken,
            Bearer::UnknownToken,
            Bearer::InstanceToken,
            Bearer::ForeignAccountToken,
            Bearer::Stranger,
            Bearer::OwnAccountToken,
            Bearer::ViewersAccountToken,
            Bearer::Viewer,
            // Last, because these change things.
            Bearer::Developer,
            Bearer::Owner,
        ] {
            let token = match bearer {
                Bearer::Owner => &world.token,
                Bearer::Developer => &developer,
                Bearer::Viewer => &viewer,
                Bearer::OwnAccountToken => &own,
                Bearer::ViewersAccountToken => &viewers,
                Bearer::InstanceToken => &security,
                Bearer::Stranger => &neighbour.token,
                Bearer::ForeignAccountToken => &neighbour.account_token,
                Bearer::UnknownToken => "pilvi_pat_0000000000000000000000000000000000000000",
                Bearer::EmptyToken | Bearer::NoHeader => "",
            };
            let mut body = body(bearer);
            if route.ends_with("/invitations") {
                body["email"] = "guest@example.org".into();
            }
            let mut request = Request::builder().method(method).uri(&path);
            if bearer != Bearer::NoHeader {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let request = request.body(Body::from(body.to_string())).unwrap();
            let status = world.status(request).await;
            let mut expected = match expected(needs, bearer) {
                200 => to_those_who_may(method, route),
                refused => refused,
            };
            if (method, route, bearer) == ("DELETE", "/v1/account/apps/{id}", Bearer::Owner) {
                // The developer deleted it, and such an app is gone at once.
                expected = 404;
            }
            if needs == Needs::ItsOwn {
                // Who fails too often is asked to wait, whatever they bring.
                expected = match status {
                    429 => 429,
                    _ => *without.get_or_insert(status),
                };
                assert!(status < 500, "{method} {route}: {status}");
            }
            let created = status == 201 && method == "POST" && expected == 200;
            assert!(
                status == expected || created,
                "{method} {route} by {bearer:?}: {status} instead of {expected}",
            );
        }
    }
}

#[tokio::test]
async fn a_foreign_id_is_answered_like_one_that_does_not_exist() {
    let world = World::new().await;
    let neighbour = world.add_neighbour().await;
    let with_ids =
        |(_, route, _): &&(&str, &str, Needs)| route.contains("{id}") && *route != QUOTAS;
    for &(method, route, _) in ROUTES.iter().filter(with_ids) {
        let (foreign, unknown) = if is_of_an_instance(route) {
            (
                neighbour.instance.clone(),
                "5417e5485a3d8b418a01adb7".to_owned(),
            )
        } else {
            (
                neighbour.account.to_string(),
                "46738209-a745-4841-8eeb-1ca0672aa6b8".to_owned(),
            )
        };
        let mut answers = Vec::new();
        for id in [foreign.as_str(), &unknown, "c1", "%00", "%22"] {
            let path = path_of(route, id);
            let mut body = body(Bearer::Owner);
            body["email"] = "guest@example.org".into();
            answers.push(world.call(method, &path, body).await.expect(404));
        }
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{method} {route}: {answers:?}"
        );
    }
    assert!(
        world
            .directory
            .find_any(&neighbour.instance)
            .await
            .unwrap()
            .is_some()
    );
}

/// A route that is added without saying here who may call it fails.
#[test]
fn the_table_names_every_route() {
    let found = routes_in_sources();
    let named: Vec<_> = ROUTES
        .iter()
        .map(|&(method, path, _)| (method.to_owned(), path.to_owned()))
        .collect();
    for route in &found {
        assert!(named.contains(route), "{route:?} is not in the table");
    }
    for route in &named {
        assert!(found.contains(route), "{route:?} is not a route");
    }
    assert_eq!(found.len(), named.len());
}

/// The methods and paths of all routes, as the sources have them.
pub(super) fn routes_in_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.starts_with("tests") {
                found.extend(routes_in(&std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// The methods and paths in the calls of `.route(` of a source.
fn routes_in(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for call in source.split(".route(").skip(1) {
        let path = call.split('"').nth(1).unwrap();
        let methods = &call[..closing(call)];
        for method in ["get", "post", "put", "delete"] {
            if methods.contains(&format!("{method}(")) {
                found.push((method.to_uppercase(), path.to_owned()));
            }
        }
    }
    found
}

/// Where the parenthesis closes that was opened before the text.
fn closing(text: &str) -> usize {
    let mut depth = 1;
    for (place, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return place;
        }
    }
    text.len()
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let world = World::new().await;
    let instance = world.add_instance("eds").await.id;
    let own = world
        .get(&world.account_path("/authorizations"))
        .await
        .first_token();
    let security = world
        .get(&format!("/v1/instances/{instance}/authorizations"))
        .await
        .first_token();
    for (token, status, body) in [
        (
            "",
            401,
            error(
                "AccessDenied",
                "the header `Authorization: Bearer TOKEN` is required",
            ),
        ),
        ("x", 401, error("AccessDenied", "the token is not known")),
        (
            &own,
            403,
            error(
                "Forbidden",
                "an account token may only read its account and instances; use a personal access token",
            ),
        ),
        (
            &security,
            403,
            error(
                "Forbidden",
                "this is the security token of an instance; use a personal access token",
            ),
        ),
    ] {
        let answer = world.call_as(token, "GET", "/v1/user", Value::Null).await;
        assert_eq!(answer.expect(status), body);
    }
}

#[tokio::test]
async fn an_account_token_is_capped_by_the_role_of_its_member() {
    let world = World::new().await;
    let instance = world.add_instance("eds").await;
    let stranger = world.add_neighbour().await.account_token;
    for (token, administers) in [
        (world.add_member(Role::Owner).await.1, true),
        (world.add_member(Role::Developer).await.1, true),
        (world.add_member(Role::Viewer).await.1, false),
        (stranger, false),
    ] {
        let token = Secret::new(token);
        let found = world.identity.administers(&token, &instance).await.unwrap();
        assert_eq!(found, administers);
    }
}

#[tokio::test]
async fn a_viewer_is_told_what_to_do() {
    let world = World::new().await;
    let instance = world.add_instance("eds").await.id;
    let (viewer, _) = world.add_member(Role::Viewer).await;
    let (developer, _) = world.add_member(Role::Developer).await;
    let path = format!("/v1/instances/{instance}/authorizations");
    let refused = world.call_as(&viewer, "GET", &path, Value::Null).await;
    let refused = refused.expect(403).to_string();
    assert!(refused.contains("role of a developer"), "{refused}");
    assert!(!refused.contains("pilvi_ins_"), "{refused}");
    let path = world.account_path("");
    let refused = world
        .call_as(&developer, "DELETE", &path, Value::Null)
        .await;
    let refused = refused.expect(403).to_string();
    assert!(refused.contains("only an owner"), "{refused}");
}
