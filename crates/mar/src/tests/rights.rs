//! Every call of the table × everybody who can ask.

use axum::body::Body;
use serde_json::{Value, json};

use super::{APP, World, packed};
use crate::routes::{ROUTES, Route, Verb, Who};

/// Everybody who can ask, the token they have, and how they are refused. Viewers are not where the table lets them.
const ROLES: [(&str, Option<u16>); 12] = [
    ("person", None),
    ("account", None),
    ("app", None),
    ("developer's person", None),
    ("developer's account", None),
    ("viewer's person", Some(403)),
    ("viewer's account", Some(403)),
    ("", Some(401)),
    ("invented", Some(401)),
    ("sibling", Some(404)),
    ("neighbour's person", Some(404)),
    ("neighbour's account", Some(404)),
];

pub(super) fn verb(route: &Route) -> &'static str {
    match route.verb {
        Verb::Get => "GET",
        Verb::Post => "POST",
        Verb::Put => "PUT",
        Verb::Delete => "DELETE",
    }
}

/// A path and a body with which the owner succeeds; whatever it needs is there afterwards.
pub(super) async fn prepare(world: &World, route: &Route, number: usize) -> (String, Value) {
    let tag = format!("spare{number}");
    let mut path = route.path.replace("{id}", APP);
    if path.contains("{tag}") {
        world.build(&tag, "web: x").await;
        path = path.replace("{tag}", &tag);
    }
    if route.path.contains("/releases/{number}") {
        let earlier = world.get("").await.must_be(200)["release"].to_string();
        world.deploy(&tag, "web: x").await;
        path = path.replace("{number}", &earlier);
    }
    if path.contains("{name}") {
        let name = format!("d{number}.example.com");
        world
            .call("POST", "/domains", json!({"name": name}))
            .await
            .must_be(201);
        path = path.replace("{name}", &name);
    }
    let certificate = || {
        let made = rcgen::generate_simple_self_signed(vec!["www.example.com".to_owned()]).unwrap();
        json!({"privateKey": made.signing_key.serialize_pem(), "certificateBody": made.cert.pem()})
    };
    let body = match (route.verb, route.path.trim_start_matches("/v1/apps/{id}")) {
        (Verb::Put, "") => json!({"stack": "cedar"}),
        (Verb::Put, "/env_vars") => json!({"A": number}),
        (_, "/scale") => json!({"web": "2"}),
        (_, "/exec") => json!({"cmd": "ls", "processId": "web.1"}),
        (Verb::Post, "/domains") => json!({"name": format!("n{number}.example.com")}),
        (Verb::Post, "/ssl_certificate") => certificate(),
        (Verb::Delete, "/ssl_certificate") => {
            world
                .call("POST", "/ssl_certificate", certificate())
                .await
                .must_be(201);
            json!({})
        }
        (Verb::Post, "/slugs") => json!({"tag": tag, "process_types": {"web": "x"}}),
        _ => Value::Null,
    };
    (path, body)
}

#[tokio::test]
async fn each_call_is_for_those_whose_role_is_enough() {
    let world = World::new().await;
    world.deploy("first", "web: x").await;
    let mut number = 0;
    for route in ROUTES.iter().filter(|route| route.who != Who::Signed) {
        for (token, refusal) in ROLES {
            let is_let = route.who == Who::Viewer && refusal == Some(403);
            let refusal = refusal.filter(|_| !is_let);
            number += 1;
            let (path, body) = prepare(&world, route, number).await;
            world.wait_for_background().await;
            world.stage.acts();
            let text = match &body {
                Value::Null => Body::empty(),
                body => Body::from(body.to_string()),
            };
            let answer = world.send(token, verb(route), &path, text).await;
            let what = format!(
                "{} {path} with the token `{token}`: {}",
                verb(route),
                answer.body
            );
            match refusal {
                None => assert!(
                    (200..300).contains(&answer.status),
                    "{} {what}",
                    answer.status
                ),
                Some(status) => {
                    assert_eq!(answer.status, status, "{what}");
                    let helps = answer.body.to_string().contains("role of a developer");
                    assert_eq!(helps, status == 403, "{what}");
                    world.wait_for_background().await;
                    assert_eq!(world.stage.acts(), [""; 0], "{what}");
                }
            }
        }
        // Made anew for the next route, as some of them stop or remove things.
        world.call("POST", "/start", json!({})).await.must_be(200);
    }
}

#[tokio::test]
async fn a_signed_call_needs_its_signature_and_nothing_else() {
    let world = World::new().await;
    let signed: Vec<&Route> = ROUTES
        .iter()
        .filter(|route| route.who == Who::Signed)
        .collect();
    assert_eq!(signed.len(), 1);
    for (number, (token, _)) in ROLES.into_iter().enumerate() {
        let body = json!({"tag": format!("t{number}"), "process_types": {"web": "x"}});
        let announced = world.call("POST", "/slugs", body).await.must_be(201);
        let url = announced["blob"]["url"].as_str().unwrap();
        let place = url.trim_start_matches("http://mar.localhost:8080");
        assert!(
            place.starts_with(&signed[0].path.replace("{id}", APP).replace("{number}", "")),
            "{place}"
        );
        let bytes = packed(&[("run", "x")]);
        let (path, _) = place.split_once('?').unwrap();
        let without = world.send(token, "PUT", path, bytes.clone().into()).await;
        assert_eq!(without.status, 403, "{token}");
        let with = world.send(token, "PUT", place, bytes.into()).await;
        assert_eq!(with.status, 200, "{token}: {}", with.body);
    }
}

#[tokio::test]
async fn no_other_verb_does_anything() {
    let world = World::new().await;
    for route in ROUTES {
        let path = route.path.replace("{id}", APP);
        for verb in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let taken = ROUTES
                .iter()
                .any(|other| other.path == route.path && self::verb(other) == verb);
            if !taken {
                let path = path.replace(['{', '}'], "");
                let answer = world.send("account", verb, &path, Body::empty()).await;
                assert_eq!(answer.status, 405, "{verb} {path}");
            }
        }
    }
}
