//! Every route × every kind of caller.

use axum::body::Body;
use http::Request;
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
    /// A personal access token, or any account token.
    Anybody,
    /// A personal access token; no id in the path is anybody's.
    Person,
    /// To read the account or instance in the path.
    Reader,
    /// To be a member of the account in the path: it is about what is the member's own.
    Member,
    /// To change the account or instance in the path, or to read what opens it.
    Developer,
    /// To own the account in the path.
    Owner,
}

const ROUTES: [(&str, &str, Needs); 24] = [
    ("GET", "/v1/user", Needs::Person),
    ("GET", "/v1/user/accounts", Needs::Person),
    ("GET", "/v1/authorizations", Needs::Person),
    ("POST", "/v1/authorizations", Needs::Person),
    ("DELETE", "/v1/authorizations/{token}", Needs::Person),
    ("GET", "/v1/user/ssh_keys", Needs::Person),
    ("POST", "/v1/user/ssh_keys", Needs::Person),
    ("DELETE", "/v1/user/ssh_keys/{key}", Needs::Person),
    ("POST", "/v1/accounts", Needs::Person),
    ("GET", "/v1/accounts/{id}", Needs::Reader),
    ("DELETE", "/v1/accounts/{id}", Needs::Owner),
    ("GET", "/v1/accounts/{id}/authorizations", Needs::Member),
    ("POST", "/v1/accounts/{id}/authorizations", Needs::Member),
    (
        "DELETE",
        "/v1/accounts/{id}/authorizations/{token}",
        Needs::Member,
    ),
    ("GET", "/v1/accounts/{id}/instances", Needs::Reader),
    ("POST", "/v1/accounts/{id}/instances", Needs::Developer),
    ("GET", "/v1/instances/{id}", Needs::Reader),
    ("PUT", "/v1/instances/{id}", Needs::Developer),
    ("DELETE", "/v1/instances/{id}", Needs::Developer),
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
    ("GET", "/v1/datacenters", Needs::Anybody),
    ("GET", "/v1/ping", Needs::Nothing),
];

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

/// The status, where 404 also stands for "not found, or found with a token number that nobody has".
fn expected(needs: Needs, bearer: Bearer) -> u16 {
    use Bearer as B;
    match (needs, bearer) {
        (Needs::Nothing, _) => 200,
        (_, B::UnknownToken | B::EmptyToken | B::NoHeader) => 401,
        (_, B::InstanceToken) => 403,
        (Needs::Anybody, _) => 200,
        (Needs::Person, B::OwnAccountToken | B::ViewersAccountToken | B::ForeignAccountToken) => {
            403
        }
        (Needs::Person, _) => 200,
        (_, B::Stranger | B::ForeignAccountToken) => 404,
        (Needs::Reader, _) => 200,
        (_, B::OwnAccountToken | B::ViewersAccountToken) => 403,
        (Needs::Developer | Needs::Owner, B::Viewer) => 403,
        (Needs::Owner, B::Developer) => 403,
        (Needs::Member | Needs::Developer | Needs::Owner, _) => 200,
    }
}

#[tokio::test]
async fn every_route_answers_every_kind_of_caller_as_it_should() {
    for (method, route, needs) in ROUTES {
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
        let id = if route.contains("/instances/") {
            instance
        } else {
            world.account.to_string()
        };
        let path = route
            .replace("{id}", &id)
            .replace("{token}", "999999")
            .replace("{key}", "999999");

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
            // A key belongs to one person.
            let key = match bearer {
                Bearer::Stranger => super::ssh_keys::OTHER_KEY,
                Bearer::Developer => DEVELOPERS_KEY,
                Bearer::Viewer => VIEWERS_KEY,
                _ => super::ssh_keys::KEY,
            };
            let body = json!({"name": "n", "serviceProviderId": "eds", "key": key});
            let answer = match bearer {
                Bearer::NoHeader => {
                    let request = Request::builder().method(method).uri(&path);
                    world.send(request.body(Body::empty()).unwrap()).await
                }
                _ => world.call_as(token, method, &path, body.clone()).await,
            };
            let mut expected = expected(needs, bearer);
            // The owner may delete tokens, but there is none with this number; the owner's account has an instance.
            if expected == 200 && (route.ends_with("{token}") || route.ends_with("{key}")) {
                expected = 404;
            }
            if expected == 200 && (method, route) == ("DELETE", "/v1/accounts/{id}") {
                expected = 409;
            }
            // The developer has deleted it.
            if bearer == Bearer::Owner && (method, route) == ("DELETE", "/v1/instances/{id}") {
                expected = 404;
            }
            let created = answer.status == 201 && method == "POST" && expected == 200;
            assert!(
                answer.status == expected || created,
                "{method} {route} by {bearer:?}: {} instead of {expected}: {}",
                answer.status,
                answer.body
            );
        }
    }
}

#[tokio::test]
async fn a_foreign_id_is_answered_like_one_that_does_not_exist() {
    let world = World::new().await;
    let neighbour = world.add_neighbour().await;
    for (method, route, needs) in ROUTES {
        if matches!(needs, Needs::Nothing | Needs::Anybody | Needs::Person) {
            continue;
        }
        let (foreign, unknown) = if route.contains("/instances/") {
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
            let path = route.replace("{id}", id).replace("{token}", "1");
            let body = json!({"name": "n", "serviceProviderId": "eds"});
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
    let source = include_str!("../routes.rs");
    let table = source
        .split("Router::new()")
        .nth(1)
        .unwrap()
        .split(".layer(")
        .next()
        .unwrap();
    let mut found = Vec::new();
    for route in table.split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap();
        for method in ["get", "post", "put", "delete"] {
            if route.contains(&format!("{method}(")) {
                found.push((method.to_uppercase(), path));
            }
        }
    }
    let named: Vec<_> = ROUTES
        .map(|(method, path, _)| (method.to_owned(), path))
        .into();
    for route in &found {
        assert!(named.contains(route), "{route:?} is not in the table");
    }
    assert_eq!(found.len(), named.len());
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
